"""A Hugging Face Space that starts the explorer (``tim explore``) for whoever opens it."""

from __future__ import annotations

import time

from tim_plugin.explorer import page
from tim_plugin.explorer.desk import Desk, Opening

PORT = 7860  # a Space's
MAX_MEGAPIXELS = 1.0  # of an answer: the free machine has two cores


def start(host: str = "0.0.0.0", port: int = PORT) -> tuple[Desk, page.gr.Blocks]:
    """Start the page and return at once; a Space is reached from outside, where tim explore listens on 127.0.0.1."""
    desk = Desk(Opening(max_megapixels=MAX_MEGAPIXELS))
    app, _ = page.serve(desk, port, browser=False, host=host)
    return desk, app


if __name__ == "__main__":
    _, started = start()
    while started.is_running:
        time.sleep(1)
