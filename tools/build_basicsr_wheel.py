"""Make wheels/basicsr-1.4.2-py3-none-any.whl of BasicSR's own source archive: same files, same metadata, no edit.

python tools/build_basicsr_wheel.py [basicsr-1.4.2.tar.gz] [-o wheels]
"""

import argparse
import base64
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SDIST = "basicsr-1.4.2"
SHA256 = "b89b595a87ef964cda9913b4d99380ddb6554c965577c0c10cb7b78e31301e87"
WHEEL = f"{SDIST}-py3-none-any.whl"
INFO = f"{SDIST}.dist-info"
LICENCE = f"{INFO}/LICENSE.txt"
RECORD = f"{INFO}/RECORD"
ABOUT_WHEEL = "Wheel-Version: 1.0\nGenerator: tools/build_basicsr_wheel.py\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
DATE = (2022, 8, 30, 0, 0, 0)  # of the archive, so that two builds give the same bytes
HEADERS = (
    "Name",
    "Version",
    "Summary",
    "Home-page",
    "Author",
    "Author-email",
    "License",
    "Keywords",
    "Classifier",
    "Description-Content-Type",
)
BACKEND = """
import pathlib, sys

def prepare_metadata_for_build_wheel(folder, settings=None):
    info = pathlib.Path(folder, "basicsr-1.4.2.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: basicsr\\nVersion: 1.4.2\\n")
    return info.name

__legacy__ = sys.modules[__name__]
"""


def fetch(folder: Path) -> Path:
    """Let pip download the archive into a folder, without a run of its setup.py, which fails from Python 3.13 on.

    pip wants a package's metadata before it keeps the archive; a build backend of one function gives it some.
    """
    backend = folder / "backend" / "setuptools"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build_meta.py").write_text(BACKEND)
    options = ["--no-deps", "--no-binary=basicsr", "--no-build-isolation", "--use-pep517", f"--dest={folder}"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options, SDIST.replace("-", "==")]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(backend.parent)})
    return folder / f"{SDIST}.tar.gz"


def read_sdist(path: Path) -> dict[str, bytes]:
    """Return the archive's files by their path inside it; the program ends where it is not the one we know."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        sys.exit(f"error: {path}: is not {SDIST}.tar.gz as published (its SHA-256 is {found}, not {SHA256})")
    with tarfile.open(path) as archive:
        members = [member for member in archive if member.isfile()]
        return {member.name.removeprefix(f"{SDIST}/"): archive.extractfile(member).read() for member in members}


def metadata(sdist: dict[str, bytes]) -> bytes:
    """Return METADATA as BasicSR's setup.py has it: the archive's headers, requirements.txt, README.md."""
    given = HeaderParser().parsestr(sdist["PKG-INFO"].decode())
    lines = ["Metadata-Version: 2.1"]
    lines += [f"{name}: {value}" for name in HEADERS for value in given.get_all(name, [])]
    lines += ["License-File: LICENSE.txt"]
    lines += [f"Requires-Dist: {line}" for line in sdist["requirements.txt"].decode().split()]
    return "\n".join([*lines, "", sdist["README.md"].decode()]).encode()


def record(files: dict[str, bytes]) -> bytes:
    lines = [f"{name},{_digest(content)},{len(content)}" for name, content in files.items()]
    return "\n".join([*lines, f"{RECORD},,", ""]).encode()


def _digest(content: bytes) -> str:
    return "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def contents(sdist: dict[str, bytes]) -> dict[str, bytes]:
    """Return the wheel's files by their path inside it, in the order they are written."""
    files = {name: sdist[name] for name in sorted(sdist) if name.startswith("basicsr/")}
    files[LICENCE] = sdist["LICENSE.txt"]
    files[f"{INFO}/METADATA"] = metadata(sdist)
    files[f"{INFO}/WHEEL"] = ABOUT_WHEEL.encode()
    files[f"{INFO}/top_level.txt"] = b"basicsr\n"
    files[RECORD] = record(files)
    return files


def write_wheel(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files:
            entry = zipfile.ZipInfo(name, DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, on every system
            entry.external_attr = 0o100644 << 16
            wheel.writestr(entry, content, compresslevel=9)


def build(sdist: Path, folder: Path) -> Path:
    """Write the wheel, and BasicSR's licence beside it; the same bytes every time with the same zlib."""
    files = contents(read_sdist(sdist))
    folder.mkdir(parents=True, exist_ok=True)
    write_wheel(folder / WHEEL, files.items())
    (folder / "LICENSE").write_bytes(files[LICENCE])
    return folder / WHEEL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sdist", nargs="?", type=Path, help=f"{SDIST}.tar.gz (default: pip downloads it)")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "wheels", help="folder (default: wheels)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = build(args.sdist or fetch(Path(folder)), args.output)
    print(f"{path}: {path.stat().st_size} bytes, SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()}")


if __name__ == "__main__":
    main()
