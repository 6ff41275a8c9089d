"""What a person does on the page of ``tim explore``, each step until what comes of it is there."""

from __future__ import annotations

from pathlib import Path

WAIT_MS = 300_000  # for what always comes, and late where the machine is busy
SHOWN = ".cell:not(.coming)"


def entered(page):
    """Wait until the server has told the page of its towers."""
    page.wait_for_function("document.querySelector('.towers')?.options.length > 0")
    return page


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
    page.wait_for_selector(f".tim[data-file='{name}']")
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
    wanted = ids(page)[place]
    page.click(f".cell >> nth={place}")
    page.wait_for_function(f"document.querySelectorAll('.crumbs .crumb').length > {before}")
    ready(page)
    page.mouse.move(2, 2)  # off the grid, of which an answer would be looked at, and saved
    page.wait_for_function(f"document.querySelector('.save-png').href.endsWith('save/{wanted}.png')")


def paint(page):
    """Paint a stroke over the middle of the chosen answer."""
    page.click(".brush")
    box = page.locator(".stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 10, steps=4)
    page.mouse.up()
