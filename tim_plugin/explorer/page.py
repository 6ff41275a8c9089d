"""The page itself: a gradio app whose one component is ours (``page.html`` and its scripts), and addresses of pictures.

Gradio carries requests and states, and makes a share link if one is asked for. Pictures, uploads and what is saved have
addresses of their own below ``/tim``, so that nothing is written to a disk.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # gradio reads these as it is imported
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr
import uvicorn
from gradio.tunneling import CURRENT_TUNNELS
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tim_plugin.explorer.desk import Desk
from tim_plugin.explorer.session import Session
from tim_plugin.utils.errors import TimError

FOLDER = Path(__file__).parent
SCRIPTS = ("page.js", "picture.js", "hands.js")  # one function's body
HOST = "127.0.0.1"
LARGEST_UPLOAD = 2**25
SWEEP_S = 10.0
# Gradio's own ways to files, which any page that is open in the browser could use to write to this machine's disk.
CLOSED = ("upload", "upload_progress", "file={path:path}", "file/{path:path}", "proxy={path:path}", "openapi.json")
PRIVATE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def build(desk: Desk) -> gr.Blocks:
    """Return the gradio app."""
    with gr.Blocks(title="tim explore", analytics_enabled=False, fill_width=True) as app:
        page = gr.HTML(
            html_template=(FOLDER / "page.html").read_text(encoding="utf-8"),
            js_on_load="\n".join((FOLDER / name).read_text(encoding="utf-8") for name in SCRIPTS),
            apply_default_css=False,
            elem_id="tim-explore",
        )

        def ask(event: gr.EventData) -> Iterator[str]:
            for state in desk.ask(event._data):
                yield json.dumps(state)

        page.ask(
            ask,
            outputs=page,
            trigger_mode="multiple",
            concurrency_limit=None,
            show_progress="hidden",
            api_visibility="private",
        )
    return app


def serve(
    desk: Desk,
    port: int | None = None,
    share: bool = False,
    browser: bool = True,
    quiet: bool = False,
    host: str = HOST,
) -> tuple[gr.Blocks, str]:
    """Start the page and return its app and its address; :func:`close` ends it.

    Args:
        desk: Answers what it asks for.
        port: None: the first that is free from 7860 on.
        share: Ask gradio for a public link.
        browser: Open it.
        quiet: Print nothing.
        host: That is listened on; only this machine reaches the default.

    Raises:
        TimError: The port is taken.
    """
    app = build(desk)
    desk.distance  # noqa: B018  loaded now, and not with the first answers
    uvicorn.Config(build, interface="asgi3").load()  # its imports: gradio gives its server 5 s to start in
    font = ["system-ui", "sans-serif"]  # gradio's own would come from another host
    try:
        _, address, _ = app.queue(default_concurrency_limit=None).launch(
            server_name=host,
            server_port=port,
            share=share,
            inbrowser=browser,
            quiet=True,
            prevent_thread_lock=True,
            show_error=True,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            pwa=False,
            mcp_server=False,
            max_file_size=LARGEST_UPLOAD,
            _frontend=False,  # else gradio gives up where its own page takes more than 3 s, as on a busy machine
            theme=gr.themes.Base(font=font, font_mono=["ui-monospace", "monospace"]),
            css_paths=FOLDER / "page.css",
            app_kwargs={"routes": routes(desk), "docs_url": None, "redoc_url": None},
        )
    except OSError as error:
        raise TimError(f"--port {port}: is taken by another program: give another one, or leave it out") from error
    threading.Thread(target=_sweeping, args=(desk, app), daemon=True).start()
    if not quiet:
        print(f"tim explore: {address} (Ctrl-C ends it)", flush=True)
        if app.share_url:
            print(f"for everybody who has this link: {app.share_url}", flush=True)
    return app, address


def close(desk: Desk, app: gr.Blocks) -> None:
    """End the page and its public link, and forget all that was uploaded."""
    desk.visitors.close()
    for tunnel in CURRENT_TUNNELS:  # programs of their own, which would outlive this one
        tunnel.kill()
    app.close(verbose=False)


def _sweeping(desk: Desk, app: gr.Blocks) -> None:
    while app.is_running:
        time.sleep(SWEEP_S)
        desk.visitors.sweep()


def routes(desk: Desk) -> list[Route]:
    """Return the addresses below ``/tim`` (pictures, what is saved, uploads, leaving), and gradio's that are closed."""

    def png(make: Callable[[Session, Request], bytes], name: str | None = None) -> Callable[[Request], Response]:
        def respond(request: Request) -> Response:
            return _answered(desk, request, make, "image/png", name)

        return respond

    def choice(request: Request) -> Response:
        def make(session: Session, request: Request) -> bytes:
            return session.choice(int(request.path_params["id"])).encoded()

        return _answered(desk, request, make, "application/json", "choice.json")

    def leave(request: Request) -> Response:
        desk.visitors.leave(request.path_params["token"])
        return Response(status_code=204)

    async def upload(request: Request) -> Response:
        return await _uploaded(desk, request)

    def of_answer(session: Session, request: Request) -> bytes:
        return session.png(int(request.path_params["id"]))

    def closed(request: Request) -> Response:
        return Response(status_code=404)

    start = "/tim/{token}"
    return [
        *(Route(f"/gradio_api/{path}", closed, methods=["GET", "POST"]) for path in CLOSED),
        Route(f"{start}/input.png", png(lambda session, _: session.input_png())),
        Route(f"{start}/spread.png", png(lambda session, _: session.deviation())),
        Route(f"{start}/answer/{{id:int}}.png", png(of_answer)),
        Route(f"{start}/save/{{id:int}}.png", png(of_answer, "{name}_chosen.png")),
        Route(f"{start}/save/sheet.png", png(lambda session, _: session.sheet(), "{name}_sheet.png")),
        Route(f"{start}/save/{{id:int}}/choice.json", choice),
        Route(f"{start}/upload", upload, methods=["POST"]),
        Route(f"{start}/leave", leave, methods=["POST"]),
    ]


def _answered(
    desk: Desk, request: Request, make: Callable[[Session, Request], bytes], kind: str, name: str | None
) -> Response:
    """Answer with what is made of the visitor's session; with a name it is saved and not shown."""
    try:
        session = desk.session(desk.visitors.get(request.path_params["token"]))
        headers = dict(PRIVATE)
        if name is not None:
            file = name.format(name=session.opened.file.key)
            plain = file.encode("ascii", "replace").decode().replace('"', "_")
            headers["Content-Disposition"] = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file)}"
        return Response(make(session, request), media_type=kind, headers=headers)
    except TimError as error:
        return PlainTextResponse(str(error), status_code=404, headers=PRIVATE)


async def _uploaded(desk: Desk, request: Request) -> Response:
    """Take a file into memory, unless it is too large."""
    token, name = request.path_params["token"], request.query_params.get("name", "image")[:300]
    try:
        desk.visitors.get(token)
        content = bytearray()
        async for part in request.stream():
            content += part
            if len(content) > LARGEST_UPLOAD:
                raise TimError(f"{name}: is larger than {LARGEST_UPLOAD >> 20} MiB: crop or shrink it first")
        number = await run_in_threadpool(desk.visitors.upload, token, name, bytes(content))
        return JSONResponse({"id": number}, headers=PRIVATE)
    except TimError as error:
        return JSONResponse({"error": str(error)}, headers=PRIVATE)
