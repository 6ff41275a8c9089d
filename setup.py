"""Package metadata; `pip install -e .` after torch and basicsr (see the Makefile's `install` target)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# Where the project can be read. It has no public address yet: when it has, set this and run `python docs/readme_links.py`.
PROJECT_URL = "https://example.org/tim_plugin"
OPTION_FILES = "tim_plugin.options.tasks"  # where a wheel has them
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "tim_plugin" / "_version.py").read_text()).group(1)

setup(
    name="tim_plugin",
    version=VERSION,
    description="Tower Implicit Model for BasicSR: many plausible outputs for one input, by conditional IMLE",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    url=PROJECT_URL,
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["tim_plugin", "tim_plugin.*"]), OPTION_FILES],
    package_dir={OPTION_FILES: "options"},  # their one source; an editable install reads them there
    package_data={
        "tim_plugin": ["weights/*.safetensors", "weights/checksums.json"],
        OPTION_FILES: ["*.yml", "baselines/*.yml"],
    },
    entry_points={"console_scripts": ["tim = tim_plugin.cli.main:main"]},
    install_requires=[
        "torch>=2.6",
        "torchvision",
        "basicsr==1.4.2",
        "mmcv-lite>=2.1",
        "lpips>=0.1.4",
        "opencv-python",
        "pillow",
        "jpeglib>=1.0",  # the only wheel that reads a JPEG's coefficients
        "pyyaml",
        "numpy",
        "safetensors>=0.4",
        "torch-fidelity>=0.3",
        "setuptools",  # basicsr imports distutils, which Python 3.12 has only through setuptools
    ],
    extras_require={
        "docs": [
            "sphinx>=8",
            "myst-parser>=4",
            "sphinx-gallery>=0.18",
            "furo",
            "matplotlib",
            "scikit-image>=0.22",
            "scikit-learn>=1.3",
        ],
        "demo": ["scikit-image>=0.22", "scikit-learn>=1.3", "scipy", "matplotlib"],
        "test": [
            "pytest>=8",
            "jsonschema",
            "pytest-xdist>=3.5",
            "ruff>=0.6",
            "scikit-image>=0.22",
            "scikit-learn>=1.3",
            "scipy",
            "matplotlib",
        ],
    },
)
