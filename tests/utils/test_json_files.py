"""JSON of another shape than ours, wherever a tool relies on it: one sentence that names the file."""

from __future__ import annotations

import copy
import json

import pytest

from tim_plugin.data.prepare_record import read_record, write_record
from tim_plugin.data.rarity import Rarity
from tim_plugin.data.rarity_scan import compute_rarity
from tim_plugin.degradations.labels import Labels
from tim_plugin.inference.record import SampleRecord
from tim_plugin.utils.bundled import read_bundled
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.json_files import NONE, parse_json, with_checksum
from tim_plugin.utils.weight_headers import FOLDER, list_towers

LABELS = Labels("camvid")
OTHERS = [None, True, -1, 2.5, "x", "", [], [[]], {}, {"a": 1}, 10**400]
TEXTS = ["", "[", "nonsense", "[" * 5000, '{"images": NaN}', "\ufeff{}", "null", '"x"', "3"]


@pytest.mark.parametrize(
    ("content", "shape", "message"),
    [
        ('{"a": [1, true]}', {"a": [int]}, r"a\[1\]: is true, not int"),
        ('{"a": NaN}', {"a": float}, "NaN is no number"),
        ('{"a": {"c": 1}}', {"a": {"b": int}}, "a: has no 'b'"),
        ("[1, 2]", [int, str], r"\[1\]: is 2, not str"),
        ("[1]", [int, str], "it: has 1 entries, not 2"),
        ('{"x": {"y": 1}, "z": 3}', {str: {"y": int}}, "z: is 3, not dict"),
        ('{"a": 2}', {"a": (str, NONE)}, "a: is 2, not str or null"),
        ('{"a": 1e400}', {"a": float}, "a: is too large for a number"),
        ("[" * 100_000, {}, "is nested too deeply"),
    ],
)
def test_the_first_place_that_differs_is_named(content, shape, message):
    with pytest.raises(ValueError, match=message):
        parse_json(content, shape)


def test_whole_numbers_are_numbers_and_keys_may_be_missing_or_more():
    value = {"a": 1, "more": [None]}
    assert parse_json(json.dumps(value), {"a": float, "b?": int}) == value


def mutants(value):
    """Yield the value with each part of it, one at a time, taken away or put in the place of something else."""
    yield from copy.deepcopy(OTHERS)
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            without = copy.copy(value)
            del without[key]
            yield without
            for inner in mutants(value[key]):
                changed = copy.copy(value)
                changed[key] = inner
                yield changed


@pytest.fixture
def sample_record(tmp_path):
    entry = {"input": "a.png", "made_with": {"seed": 0}, "samples": [{"file": "a_s00.png"}], "sheet": "a_sheet.png"}
    (tmp_path / "a_s00.png").write_bytes(b"")
    path = tmp_path / "samples.json"

    def read():
        record = SampleRecord(path, {})
        record.done("a.png", {"seed": 0}, [tmp_path / "a_s00.png"])

    return path, {"images": [entry]}, read


@pytest.fixture
def prepare_record(tmp_path):
    write_record(tmp_path, {"task": "sr4x"}, {"a": ["a.png", 1, 2]})
    path = tmp_path / "prepare.json"
    return path, json.loads(path.read_text()), lambda: read_record(tmp_path, {"task": "sr4x"}).get("a")


@pytest.fixture
def rarity_file(tmp_path):
    source = ["a.png", 1, "l.png", 2, "digest"]
    content = {"scores": [[0.0, 1.0]], "sources": [source], "palette": LABELS.describe(), "computed_at": 1.0}

    def read():
        rarity = Rarity.load(tmp_path / "rarity.json")
        assert rarity.probabilities.shape == (len(rarity.sources),)
        return rarity

    return tmp_path / "rarity.json", content, read


@pytest.fixture
def rarity_progress(tmp_path, photos, label_maps):
    path = tmp_path / "rarity.json.partial"
    mark = ["a.png", 1, "l.png", 2, 1.0, 2.0]
    line = {"palette": LABELS.describe(), "found": [[[0.0] * 3], [True], "digest"], "mark": mark}
    return path, line, lambda: compute_rarity(photos, label_maps, LABELS, progress=path)


@pytest.fixture
def checksums(tmp_path):
    path = tmp_path / "checksums.json"
    for name in ("sr4x-small.safetensors",):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    content = {"sr4x-small": json.loads((FOLDER / path.name).read_text())["sr4x-small"]}
    return path, content, lambda: (list_towers(tmp_path), read_bundled("sr4x-small", tmp_path))


@pytest.mark.parametrize("record", ["sample_record", "prepare_record", "rarity_file", "rarity_progress", "checksums"])
def test_a_record_of_other_contents_is_one_sentence_that_names_it(record, request):
    path, content, read = request.getfixturevalue(record)
    refused = 0
    everything = [json.dumps(one) for one in mutants(content)] + TEXTS
    if record == "rarity_progress":  # each that is taken scans the six photographs anew
        everything = everything[::5]
    for text in [json.dumps(content), *everything]:
        path.write_text(text + "\n", encoding="utf-8")
        try:
            read()
        except TimError as error:
            assert path.name in str(error) or "was prepared with" in str(error) or "not known" in str(error), error
            assert len(str(error).splitlines()) == 1
            refused += 1
    assert refused > len(everything) // 3


@pytest.mark.parametrize("record", ["prepare_record", "rarity_file", "rarity_progress"])
def test_a_record_with_any_flipped_bit_is_refused_and_one_of_old_has_no_checksum(record, request):
    path, content, read = request.getfixturevalue(record)
    content.pop("checksum", None)
    if record == "rarity_progress":
        content["found"] = [[[0.0] * 3] * LABELS.channels, [True] * LABELS.channels, "digest"]
    for whole in (content, with_checksum(content)):
        text = json.dumps(whole).encode() + b"\n"
        path.write_bytes(text)
        expected = read()
    for position in range(0, len(text) - 1, 3):  # the last byte ends the line
        path.write_bytes(text[:position] + bytes([text[position] ^ 1 << position % 8]) + text[position + 1 :])
        with pytest.raises(TimError, match=f"{path.name}: is damaged|{path.name} is damaged"):
            read()
    path.write_bytes(text)
    assert _plain(read()) == _plain(expected)


def _plain(value):
    return value.scores.tolist() if isinstance(value, Rarity) else value
