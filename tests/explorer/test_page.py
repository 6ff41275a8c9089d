"""What the explorer's server answers without its page: its own addresses, and none of gradio's that lead to files."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

page = pytest.importorskip("tim_plugin.explorer.page", reason="needs gradio: pip install 'tim_plugin[explore]'")


def status_of(address: str, content: bytes | None = None) -> int:
    request = urllib.request.Request(address, data=content, headers={"Origin": "https://elsewhere.example"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_gradios_ways_to_files_are_closed(served, tmp_path):
    (tmp_path / "a.png").write_bytes(b"a")
    assert status_of(served[1]) == 200
    assert status_of(f"{served[1]}gradio_api/upload", b"anything") == 404
    for way in (f"file={tmp_path}/a.png", f"file/{tmp_path}/a.png", "proxy=https://elsewhere.example/", "openapi.json"):
        assert status_of(f"{served[1]}gradio_api/{way}") == 404, way


def test_an_upload_that_is_too_large_is_a_sentence(served):
    desk, address = served
    token = next(desk.ask({"do": "hello"}))["token"]
    content = bytes(page.LARGEST_UPLOAD + 1)
    request = urllib.request.Request(f"{address}tim/{token}/upload?name=huge.png", data=content)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.load(answer)["error"] == "huge.png: is larger than 32 MiB: crop or shrink it first"
    assert desk.visitors.get(token).uploads == {}


def test_a_file_is_saved_by_its_name_in_every_alphabet(served, thumb):
    desk, address = served
    token = next(desk.ask({"do": "hello"}))["token"]
    upload = desk.visitors.upload(token, "Gr\u00fc\u00dfe.png", thumb)
    *_, state = desk.ask({"do": "open", "token": token, "model": desk.opening.model, "uploads": [upload], "count": 2})
    answer = state["answers"][0]["id"]
    with urllib.request.urlopen(f"{address}tim/{token}/save/{answer}.png", timeout=60) as saved:
        assert "filename*=UTF-8''Gr%C3%BC%C3%9Fe_chosen.png" in saved.headers["Content-Disposition"]
    assert status_of(f"{address}tim/{'a' * 32}/save/{answer}.png") == 404
