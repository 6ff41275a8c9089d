"""How the guide is built, without a network: `make docs`, or `python -m sphinx -W docs docs/_build/html`."""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS)]

import api_pages  # noqa: E402  beside this file
import code_places  # noqa: E402
import torch  # noqa: E402

import tim_plugin  # noqa: E402

torch.set_num_threads(1)  # the gallery's networks are so small that more threads take longer

api_pages.write(ROOT / "tim_plugin", DOCS / "api")

project = "tim_plugin"
author = "the contributors of tim_plugin"
release = version = tim_plugin.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "gallery"]
html_theme = "furo"
html_title = "tim_plugin"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autosummary_generate = False  # the API's pages list modules; each module stands on its folder's page
autodoc_mock_imports = [
    "huggingface_hub",
    "spandrel",
    "mmengine",
    "deepinv",
    "gradio",
    "starlette",
    "uvicorn",
]  # extras
autodoc_type_aliases = {"Tower": "tim_plugin.Tower"}  # where a module only names it for type checkers
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_use_ivar = True  # or attributes are listed twice: in the class's docstring and by autodoc

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "filename_pattern": r"plot_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "abort_on_example_error": False,
    "only_warn_on_example_error": False,
    "show_memory": False,
}


def setup(app) -> None:  # noqa: ANN001
    """Give the line of each function that a page names as `FILE::NAME`."""
    app.connect("source-read", lambda _, __, source: source.__setitem__(0, code_places.with_lines(source[0], ROOT)))
