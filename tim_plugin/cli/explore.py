"""``tim explore``: a page in the browser on which a person chooses among answers."""

from __future__ import annotations

import argparse
import os
import threading
import time
from importlib.util import find_spec
from pathlib import Path

from tim_plugin.utils.errors import TimError

DESCRIPTION = """A page in the browser: see the most different of many answers to an image, choose one, keep its
coarse levels and vary the fine ones, change a part of it, compare, save. It runs on this machine, and only this machine
reaches it.

tim explore
tim explore photo.png --model sr4x-small
tim explore --from choice.json"""
END_S = 1.5  # in which a page that is asked to end may do so in good order
INSTALL = "tim explore needs gradio: pip install 'tim_plugin[explore]'"


def add_explore_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is opened, and how the page is served."""
    parser.description = DESCRIPTION
    parser.add_argument("image", nargs="?", type=Path, help="an image to begin with (default: open it in the page)")
    parser.add_argument(
        "-m",
        "--model",
        help="a tower of the package by name, or a checkpoint (default: sr4x-small; the page has others)",
    )
    parser.add_argument("--task", help="what a file of the method's authors is for, see tim sample --help")
    parser.add_argument(
        "--from", dest="choice", type=Path, metavar="choice.json", help="go on with a choice that the page has saved"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 (default: %(default)s)")
    parser.add_argument(
        "--max-megapixels",
        type=float,
        default=4.0,
        help="refuse images whose answers are larger than this (default: %(default)s)",
    )
    parser.add_argument("--port", type=int, help="of the address (default: the first that is free from 7860 on)")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    parser.add_argument(
        "--share", action="store_true", help="also ask gradio for a public link, which anybody can open who has it"
    )


def explore(args: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C."""
    if find_spec("gradio") is None:
        raise TimError(INSTALL)
    if not args.max_megapixels > 0:
        raise TimError(f"--max-megapixels {args.max_megapixels}: must be above 0")
    if args.port is not None and not 1 <= args.port <= 65535:
        raise TimError(f"--port {args.port}: must be from 1 to 65535")
    if args.choice is not None and args.image is not None:
        raise TimError(f"{args.image}: --from says which image it is for: leave one of them out")

    from tim_plugin.explorer.choice import read_choice_file
    from tim_plugin.explorer.desk import Desk, Opening
    from tim_plugin.utils.images import read_bytes
    from tim_plugin.utils.processes import Interrupted

    choice = None if args.choice is None else read_choice_file(args.choice)
    model = args.model or (Opening.model if choice is None else choice.model)
    image = None if args.image is None else (args.image.name, read_bytes(args.image))
    desk = Desk(Opening(model, image, choice, args.device, args.max_megapixels, args.task))

    from tim_plugin.explorer.page import close, serve  # the slow part: behind all that may be wrong

    app = None
    try:
        app, _ = serve(desk, args.port, args.share, not args.no_browser)
        while app.is_running:
            time.sleep(0.2)
    except KeyboardInterrupt as stop:  # the way in which it is meant to end
        _end_soon(128 + stop.signal if isinstance(stop, Interrupted) else 0)
        if isinstance(stop, Interrupted):
            raise
    finally:
        if app is not None:
            close(desk, app)


def _end_soon(status: int) -> None:
    """End the process even where threads still compute: nothing of theirs is kept, and Python would wait for them."""
    timer = threading.Timer(END_S, os._exit, [status])
    timer.daemon = True
    timer.start()
