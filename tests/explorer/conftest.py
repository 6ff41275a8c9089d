"""A tiny tower that the explorer opens, inputs for it, answers asked for without a page, and a browser."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import pytest
import torch

from support.browsing import WAIT_MS
from tim_plugin.explorer.desk import Desk, Opening
from tim_plugin.utils.checkpoints import save_atomically
from tim_plugin.utils.images import encode_png


@pytest.fixture(scope="session")
def tower_file(tmp_path_factory, tiny_network):
    """A checkpoint of a tower of two levels that enlarges four times and projects."""
    from tim_plugin.archs.tower_arch import TowerGenerator

    arguments = {**{key: value for key, value in tiny_network.items() if key != "type"}, "num_levels": 2}
    arguments["consistency"] = "project"
    torch.manual_seed(0)
    tower = TowerGenerator(**arguments)
    path = tmp_path_factory.mktemp("explored") / "tiny.pth"
    save_atomically({"params": tower.state_dict(), "network_g": {"type": "TowerGenerator", **arguments}}, path)
    return path


@pytest.fixture(scope="session")
def thumb() -> bytes:
    """A PNG of 8x6 pixels."""
    return encode_png(torch.rand(3, 6, 8, generator=torch.Generator().manual_seed(1)) * 0.4 + 0.3)


@pytest.fixture
def desk(tower_file):
    return Desk(Opening(model=str(tower_file)))


@pytest.fixture(scope="session")
def marked():
    """Return a function that makes a mask's data URL, as the page sends it: opaque where it is marked."""

    def make(height=24, width=32, rows=slice(4, 12), columns=slice(4, 12)) -> str:
        mask = torch.zeros(4, height, width)
        mask[:, rows, columns] = 1
        return "data:image/png;base64," + base64.b64encode(encode_png(mask)).decode()

    return make


class Asking:
    """Asks a desk as the page does, and returns its last state; begins with an image."""

    def __init__(self, desk: Desk, name: str, content: bytes) -> None:
        self.desk, self.states = desk, []
        self.token = next(desk.ask({"do": "hello"}))["token"]
        upload = desk.visitors.upload(self.token, name, content)
        self.state = self("open", model=desk.opening.model, uploads=[upload], count=3)
        self.session = desk.visitors.get(self.token).session

    def __call__(self, do, **more):
        self.states = list(self.desk.ask({"do": do, "token": self.token, **more}))
        return self.states[-1]

    def draw(self, **more):
        return self("draw", **{"parent": None, "kept": 0, "seed": 0, "temperature": 1.0, "count": 3, **more})


@pytest.fixture
def asking(desk, thumb):
    return Asking(desk, "thumb.png", thumb)


@pytest.fixture(scope="session")
def chosen(tower_file, thumb, marked) -> tuple[bytes, bytes]:
    """A choice.json of an answer inside a mask, of a variation, of a first answer; and the answer's PNG on the page."""
    asking = Asking(Desk(Opening(model=str(tower_file))), "thumb.png", thumb)
    first = asking.state["answers"][1]["id"]
    second = asking.draw(parent=first, kept=1, seed=4, temperature=1.5)["answers"][0]["id"]
    third = asking.draw(parent=second, kept=0, mask=marked())["answers"][2]["id"]
    return asking.session.choice(third).encoded(), asking.session.png(third)


@pytest.fixture(scope="module")
def served(tower_file):
    """A desk, and the address at which its page is served."""
    page = pytest.importorskip("tim_plugin.explorer.page", reason="needs gradio: pip install 'tim_plugin[explore]'")
    desk = Desk(Opening(model=str(tower_file)))
    app, address = page.serve(desk, browser=False, quiet=True)
    yield desk, address
    page.close(desk, app)


@pytest.fixture(scope="module")
def context():
    """A context of the browser; its pages share what gradio has them load."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    own = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as driver:
        if own is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip("no browser: apt-get install chromium, or playwright install chromium")
        # as root it has no sandbox; /dev/shm is small in many containers
        args = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        found = driver.chromium.launch(executable_path=own, args=args, timeout=WAIT_MS)
        made = found.new_context(accept_downloads=True, reduced_motion="reduce")  # what moves is drawn all the time
        made.set_default_timeout(WAIT_MS)
        yield made
        found.close()
