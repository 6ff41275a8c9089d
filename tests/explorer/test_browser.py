"""The page in a real browser: Debian's Chromium, or playwright's own; skipped where there is none.

``TIM_BROWSER_TESTS=0`` leaves them out, ``make browser-test`` runs them alone.
``TIM_EXPLORER_PICTURE=docs/explorer.jpg`` makes the README's picture, by a tower of the package.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import torch

from support.browsing import SHOWN, WAIT_MS, began, choose, entered, ids, paint, ready, saved, upload
from tim_plugin.cli.main import main
from tim_plugin.explorer.desk import Desk, Opening
from tim_plugin.utils.images import encode_png

pytest.importorskip("gradio", reason="the page needs gradio: pip install 'tim_plugin[explore]'")
pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

if os.environ.get("TIM_BROWSER_TESTS") == "0":
    pytest.skip("TIM_BROWSER_TESTS=0", allow_module_level=True)
from tim_plugin.explorer.page import close, serve  # noqa: E402  where gradio is


@pytest.fixture(scope="module")
def open_page(context, served):
    """Return a function that opens the page in a tab of its own, with ``requested`` (addresses) and ``errors``."""

    def opened(width=1280, height=800, address=served[1]):
        page = context.new_page()
        page.set_viewport_size({"width": width, "height": height})
        page.requested, page.errors = [], []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(address)
        return entered(page)

    return opened


@pytest.fixture
def visit(open_page):
    """Return a function that opens the page, which is closed after the test."""
    pages = []

    def opened(*args):
        pages.append(open_page(*args))
        return pages[-1]

    yield opened
    for page in pages:
        page.close()


@pytest.fixture(scope="module")
def shared_page(open_page):
    return open_page()


@pytest.fixture
def page(shared_page, thumb, request):
    """The page with an image that was opened for this test; a page takes seconds to load, so tests share it."""
    shared_page.set_viewport_size({"width": 1280, "height": 800})
    shared_page.mouse.move(2, 2)
    return began(shared_page, thumb, f"{request.node.name[:60]}.png")


def test_upload_choose_vary_mask_go_back_save_reload(visit, served, thumb, tmp_path):
    page = began(visit(), thumb)
    first = ids(page)
    choose(page)
    page.fill(".seed", "7")
    page.keyboard.press("Tab")
    page.wait_for_selector(".tim[data-seed='7']")
    ready(page)
    choose(page, 2)
    varied = page.locator(".crumbs .crumb").count()
    paint(page)
    page.click(".inside")
    page.wait_for_function("document.querySelector('.progress span').textContent.includes('inside the mask')")
    ready(page)
    choose(page, 0)
    png, name = saved(page, ".save-png")
    sheet, _ = saved(page, ".save-sheet")
    choice, choice_name = saved(page, ".save-choice")
    assert (name, choice_name, varied) == ("thumb_chosen.png", "choice.json", 3) and sheet[:4] == png[:4] == b"\x89PNG"
    record = json.loads(choice)
    assert len(record["masks"]) == 1 and record["answers"][-1]["mask"] == 0 and record["answers"][1]["seed"] == 7

    (tmp_path / "choice.json").write_bytes(choice)
    main(["sample", "--from", str(tmp_path / "choice.json"), "-o", str(tmp_path / "out"), "--quiet"])
    assert (tmp_path / "out" / "thumb_chosen.png").read_bytes() == png

    page.keyboard.press("Escape")
    for left in (3, 2, 1):
        page.keyboard.press("Backspace")
        page.wait_for_function(f"document.querySelectorAll('.crumbs .crumb').length === {left}")
    ready(page)
    assert ids(page) == first and page.locator(".tree .crumb").count() == 3

    page.reload()
    ready(page)
    assert ids(page) == first and not page.errors

    other = visit()
    upload(other, ("choice.json", choice))
    ready(other)
    assert other.locator(".crumbs .crumb").count() == 4 and saved(other, ".save-png")[0] == png


def test_the_page_asks_nobody_but_this_machine(page, served):
    page.click("button[data-mode=spread]")
    page.wait_for_function(
        "document.querySelector('.spread').complete && document.querySelector('.spread').naturalWidth"
    )
    elsewhere = [url for url in page.requested if not url.startswith((served[1], "data:", "blob:"))]
    assert page.requested and elsewhere == []


def test_two_visitors_do_not_see_each_other_and_are_forgotten_when_they_leave(visit, served, thumb):
    desk, address = served
    one, two = began(visit(), thumb), visit()
    assert two.locator(".cell").count() == 0 and two.locator(".welcome").is_visible()
    began(two, encode_png(torch.rand(3, 5, 5, generator=torch.Generator().manual_seed(3))), "mine.png")
    tokens = [page.evaluate("sessionStorage.getItem('tim-explore')") for page in (one, two)]
    assert tokens[0] != tokens[1]
    sessions = [desk.visitors.get(token).session for token in tokens]
    assert [session.file_name for session in sessions] == ["thumb.png", "mine.png"]
    assert one.request.get(f"{address}tim/guessed/input.png").status == 404
    left, stays = (desk.visitors.get(token) for token in tokens)
    one.goto("about:blank")
    for _ in range(WAIT_MS // 100):  # the page says so as it goes
        if left.ends_at < stays.ends_at - 1000:
            break
        two.wait_for_timeout(100)
    assert left.ends_at < stays.ends_at - 1000


def test_bad_files_and_sizes_are_a_sentence_in_the_page(page):
    for name, content, said in (
        ("text.png", b"no picture at all", "text.png: cannot be decoded"),
        ("one.png", encode_png(torch.zeros(3, 1, 1)), "one.png: is 1x1"),
        ("wide.png", encode_png(torch.zeros(1, 400, 4000)), "--max-megapixels"),
        ("choice.json", b"\xef\xbb\xbf[1]", "choice.json: is no choice.json"),
    ):
        upload(page, (name, content))
        page.wait_for_function(f"document.querySelector('.message span').textContent.includes({json.dumps(said)})")
        assert page.locator(SHOWN).count() == 8
    page.click(".message .close")
    assert not page.locator(".message").is_visible() and not page.errors


def test_arrows_move_enter_chooses_and_backspace_goes_back(page):
    focused = "[...document.querySelectorAll('.cell')].indexOf(document.activeElement)"
    places = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
        page.keyboard.press(key)
        places.append(page.evaluate(focused))
    assert places == [0, 1, 4, 3, 0]
    wanted = ids(page)[0]
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelectorAll('.crumbs .crumb').length === 2")
    ready(page)
    assert f"answer/{wanted}.png" in page.get_attribute(".crumb.here img", "src")
    page.keyboard.press("Backspace")
    page.wait_for_function("document.querySelectorAll('.crumbs .crumb').length === 1")


def test_a_double_click_chooses_once_and_stale_work_is_dropped(page, served):
    page.dblclick(".cell >> nth=1")
    page.wait_for_function("document.querySelectorAll('.crumbs .crumb').length > 1")
    ready(page)
    assert page.locator(".crumbs .crumb").count() == 2
    for _ in range(5):  # faster than they can be drawn
        page.click(".again")
    page.wait_for_selector(".tim[data-seed='5']")
    ready(page)
    token = page.evaluate("sessionStorage.getItem('tim-explore')")
    current = served[0].visitors.get(token).session.round
    assert current.wish.seed == 5 and current.shown == ids(page) and not page.errors


def test_ways_to_compare(page):
    choose(page)
    page.hover(".cell >> nth=3")
    page.click("button[data-mode=split]")
    tags = "[...document.querySelectorAll('.tag')].map((tag) => tag.textContent)"
    box = page.locator(".stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + 60, steps=3)
    page.mouse.up()
    assert page.locator(".divider").bounding_box()["x"] == pytest.approx(box["x"] + box["width"] / 4 - 14, abs=3) or (
        "input" in page.evaluate(tags)
    )
    page.focus(".cell >> nth=3")
    assert page.evaluate(tags) == ["chosen", "answer 4"]
    page.click("button[data-mode=difference]")
    assert page.eval_on_selector(".b", "one => getComputedStyle(one).mixBlendMode") == "difference"
    page.click("button[data-mode=flicker]")
    page.wait_for_function("getComputedStyle(document.querySelector('.b')).visibility === 'hidden'")
    page.wait_for_function("getComputedStyle(document.querySelector('.b')).visibility === 'visible'")
    page.click("button[data-mode=one]")
    before = page.eval_on_selector(".layers", "one => one.getBoundingClientRect().width")
    page.click("[data-zoom=in]")
    assert page.eval_on_selector(".layers", "one => one.getBoundingClientRect().width") == pytest.approx(1.5 * before)


def test_nothing_is_wider_than_a_telephone(page):
    page.set_viewport_size({"width": 390, "height": 844})
    choose(page)
    page.click(".brush")
    wide = "[...document.querySelectorAll('.tim *')].filter((one) => one.getBoundingClientRect().right > 391 && "
    wide += "one.offsetParent && !one.closest('.stage, .modes, .crumbs, .tree')).map((one) => one.className)"
    assert page.evaluate(wide) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_program_that_was_started_anew_says_so_and_an_image_can_be_opened(page, served, thumb):
    served[0].visitors.close()
    page.click(".again")
    page.wait_for_function("document.querySelector('.message span').textContent.includes('this session has ended')")
    page.wait_for_selector(".welcome", state="visible")
    began(page, thumb, "again.png")
    served[0].visitors.close()
    upload(page, ("thumb.png", thumb))
    page.wait_for_selector(".welcome", state="visible")
    assert "this session has ended" in page.inner_text(".message")


def test_a_copy_of_a_tab_begins_anew_and_the_tab_goes_on(visit, context, thumb):
    page = began(visit(), thumb)
    key = "sessionStorage.getItem('tim-explore')"
    own = page.evaluate(key)
    with context.expect_page() as opened:
        page.evaluate("window.open(location.href)")  # with a copy of its storage, as a duplicated tab
    copy = entered(opened.value)
    assert copy.locator(".welcome").is_visible() and "a copy of another one" in copy.inner_text(".message")
    assert copy.evaluate(key) != own == page.evaluate(key)
    copy.close()
    page.click(".again")
    page.wait_for_selector(".tim[data-seed='1']")
    ready(page)


def test_a_seed_that_is_none_is_a_sentence_and_nothing_is_drawn(page):
    first = ids(page)
    for text in ("-5", "1.5", "2147483648", ""):
        page.click(".message .close", force=True) if page.locator(".message").is_visible() else None
        page.fill(".seed", text)
        page.keyboard.press("Tab")
        page.wait_for_function(
            "document.querySelector('.message span').textContent.includes('The seed must be a whole')"
        )
    page.click(".again")
    assert ids(page) == first and page.get_attribute(".tim", "data-seed") == "0"


def test_answers_are_looked_at_while_the_brush_is_out_and_the_picture_comes_into_view(page):
    page.set_viewport_size({"width": 390, "height": 844})
    choose(page)
    chosen = page.get_attribute(".b", "src")
    page.locator(".brush").scroll_into_view_if_needed()
    assert page.locator(".stage").bounding_box()["y"] < 0
    page.click(".brush")
    assert -1 < page.locator(".stage").bounding_box()["y"] < 200 and page.get_attribute(".b", "src") == chosen
    page.focus(".cell >> nth=3")
    assert f"answer/{ids(page)[3]}.png" in page.get_attribute(".b", "src")
    page.click(".stage")
    assert page.get_attribute(".b", "src") == chosen


def test_each_answer_has_its_seed_and_its_measure_below_it(page):
    page.set_viewport_size({"width": 390, "height": 844})
    said = page.eval_on_selector_all(".cell .caption", "all => all.map((one) => one.innerText.replace(/\\s+/g, ' '))")
    assert all(re.fullmatch(r"seed 0 no\. \d+ agrees to \d+ dB", one) for one in said), said
    assert page.locator(".cell .caption >> nth=0").is_visible() and page.input_value(".other") == "input"


@pytest.mark.skipif("TIM_EXPLORER_PICTURE" not in os.environ, reason="TIM_EXPLORER_PICTURE names no picture to write")
def test_the_picture_of_the_readme(visit):
    desk = Desk(Opening(model="sr4x-small"))
    app, address = serve(desk, browser=False, quiet=True)
    try:
        page = visit(1280, 800, address)
        page.click(".example")
        ready(page)
        choose(page, 2)
        page.focus(".cell >> nth=1")
        page.wait_for_timeout(500)
        path = Path(os.environ["TIM_EXPLORER_PICTURE"])
        path.write_bytes(page.screenshot(type="jpeg", quality=88))
        assert path.stat().st_size <= 300_000
    finally:
        close(desk, app)
