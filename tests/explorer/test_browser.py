"""The page in a real browser: Debian's Chromium, or playwright's own; ``make browser-test`` runs it.

``TIM_EXPLORER_PICTURE=docs/explorer.jpg`` makes the README's picture, by a tower of the package.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from tim_plugin.cli.main import main
from tim_plugin.explorer.desk import Desk, Opening
from tim_plugin.utils.images import encode_png

pytest.importorskip("gradio", reason="the page needs gradio: pip install 'tim_plugin[explore]'")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")

if not os.environ.get("TIM_BROWSER_TESTS"):  # a page that answers late on a busy machine is no fault of the page
    pytest.skip("TIM_BROWSER_TESTS is not set: make browser-test", allow_module_level=True)

from tim_plugin.explorer.page import LARGEST_UPLOAD, close, serve  # noqa: E402  where gradio is

WAIT_MS = 60_000  # a machine may be busy
SHOWN = ".cell:not(.coming)"


@pytest.fixture(scope="module")
def browser():
    own = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as driver:
        try:
            found = driver.chromium.launch(executable_path=own, args=["--no-sandbox", "--disable-dev-shm-usage"])
        except playwright.Error as error:
            pytest.skip(f"no browser: apt-get install chromium, or playwright install chromium ({str(error)[:80]})")
        yield found
        found.close()


@pytest.fixture(scope="module")
def served(tower_file):
    desk = Desk(Opening(model=str(tower_file)))
    app, address = serve(desk, browser=False, quiet=True)
    yield desk, address
    close(desk, app)


@pytest.fixture
def visit(browser, served):
    """Return a function that opens the page in a context of its own; what it logs and asks for is in ``page.told``."""
    contexts = []

    def open_page(width=1280, height=800, address=served[1]):
        context = browser.new_context(viewport={"width": width, "height": height}, accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.requested, page.errors = [], []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(address)
        page.wait_for_function("document.querySelector('.towers')?.options.length > 0")
        return page

    yield open_page
    for context in contexts:
        context.close()


def upload(page, *files):
    """Give the page files as (name, content), and wait for what comes of it."""
    kinds = [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files]
    page.set_input_files(".file", kinds)


def ready(page, num_answers=8):
    page.wait_for_function(
        f"document.querySelectorAll('{SHOWN}').length === {num_answers} "
        "&& document.querySelector('.tim').dataset.state === 'ready'"
    )


def began(page, thumb, name="thumb.png"):
    upload(page, (name, thumb))
    ready(page)
    return page


def saved(page, button):
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_bytes(), download.value.suggested_filename


def ids(page):
    return page.eval_on_selector_all(SHOWN, "cells => cells.map((cell) => Number(cell.dataset.id))")


def choose(page, place=1):
    before = page.locator(".crumbs .crumb").count()
    page.click(f".cell >> nth={place}")
    page.wait_for_function(f"document.querySelectorAll('.crumbs .crumb').length > {before}")
    ready(page)


def paint(page):
    """Paint a stroke over the middle of the chosen answer."""
    page.click(".brush")
    box = page.locator(".stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 10, steps=4)
    page.mouse.up()


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


def test_the_page_asks_nobody_but_this_machine(visit, served, thumb):
    page = began(visit(), thumb)
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


def test_bad_files_and_sizes_are_a_sentence_in_the_page(visit, thumb):
    page = began(visit(), thumb)
    for name, content, said in (
        ("text.png", b"no picture at all", "text.png: cannot be decoded"),
        ("one.png", encode_png(torch.zeros(3, 1, 1)), "one.png: is 1x1"),
        ("wide.png", encode_png(torch.zeros(1, 400, 4000)), "--max-megapixels"),
        ("choice.json", b'{"format": 1}', "choice.json: is no choice.json"),
        ("huge.png", bytes(LARGEST_UPLOAD + 1), "huge.png: is larger than 32 MiB"),
    ):
        upload(page, (name, content))
        page.wait_for_function(f"document.querySelector('.message span').textContent.includes({json.dumps(said)})")
        assert page.locator(SHOWN).count() == 8
    page.click(".message .close")
    assert not page.locator(".message").is_visible() and not page.errors


def test_arrows_move_enter_chooses_and_backspace_goes_back(visit, thumb):
    page = began(visit(), thumb)
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


def test_a_double_click_chooses_once_and_stale_work_is_dropped(visit, served, thumb):
    page = began(visit(), thumb)
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


def test_ways_to_compare(visit, thumb):
    page = began(visit(), thumb)
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


def test_nothing_is_wider_than_a_telephone(visit, thumb):
    page = began(visit(390, 844), thumb)
    choose(page)
    page.click(".brush")
    wide = "[...document.querySelectorAll('.tim *')].filter((one) => one.getBoundingClientRect().right > 391 && "
    wide += "one.offsetParent && !one.closest('.stage, .modes, .crumbs, .tree')).map((one) => one.className)"
    assert page.evaluate(wide) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_program_that_was_started_anew_says_so(visit, served, thumb):
    page = began(visit(), thumb)
    served[0].visitors.close()
    page.click(".again")
    page.wait_for_function("document.querySelector('.message span').textContent.includes('this session has ended')")
    page.reload()
    page.wait_for_function("document.querySelector('.towers')?.options.length > 0")
    assert page.locator(".welcome").is_visible()


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
