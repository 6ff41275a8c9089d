"""The kinds of files that the program reads: the content of a small one, and the function that reads it."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from faults.small_files import small_checkpoint
from idx_files import idx_content
from tim_plugin.data import prepare_record, rarity
from tim_plugin.data.basicsr_pairs import check_pairs
from tim_plugin.data.rarity_scan import compute_rarity
from tim_plugin.data.sources import listed_names
from tim_plugin.degradations.tasks import TASKS
from tim_plugin.inference.record import SampleRecord, written_files
from tim_plugin.inference.video import Video, VideoFiles
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.metrics.feature_cache import cached_features
from tim_plugin.metrics.feature_extractors import Extractor
from tim_plugin.metrics.image_sets import FeatureSet
from tim_plugin.options.option_file import read_option_file
from tim_plugin.utils import bundled, weight_headers
from tim_plugin.utils.authors_files import without_prefix
from tim_plugin.utils.checkpoints import load_network, read_checkpoint, read_state
from tim_plugin.utils.digit_files import read_digits
from tim_plugin.utils.images import read_image, write_png
from tim_plugin.utils.networks import network_of


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        name: For people.
        called: The file's name.
        content: Of a whole one.
        read: Reads a path as the program does; returns what it got.
        also_called: How errors may name it besides.
        is_checked: A checksum covers what is read.
        is_text: A shorter text may be a whole one.
        is_slow: It is tried less often.
        state: Tensors of which one may be taken away or be of another shape; None: they are not a network's.
        save: Writes such a state dict.
    """

    name: str
    called: str
    content: bytes
    read: Callable[[Path], Any]
    also_called: str | None = None
    is_checked: bool = False
    is_text: bool = False
    is_slow: bool = False
    state: dict[str, Tensor] | None = None
    save: Callable[[dict[str, Tensor]], bytes] = safetensors.torch.save

    @property
    def is_json(self) -> bool:
        """Whether values can be changed in it."""
        return self.called.endswith(".json")


def kinds(root: Path) -> list[Kind]:
    """Return all kinds; what they need beside the file itself is put into ``root``."""
    return [*_images(), *_inputs(root), *_weights(root), *_records(root), *_lists(root), *_videos(root)]


# images and inputs ----------------------------------------------------------------------------------------------------


def _pixels(channels: int = 3, side: int = 20, dtype: type = np.uint8) -> np.ndarray:
    top = np.iinfo(dtype).max
    smooth = np.linspace(0, 1, side * (side + 4) * channels).reshape(side, side + 4, channels)
    noise = np.random.default_rng(0).random(smooth.shape) * 0.2
    return ((smooth * 0.8 + noise) * top).astype(dtype)


def _by_pillow(kind: str, channels: int = 3, mode: str | None = None, **options: Any) -> bytes:
    stream, pixels = io.BytesIO(), _pixels(channels)
    image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
    (image if mode is None else image.convert(mode)).save(stream, kind, **options)
    return stream.getvalue()


def _by_opencv(suffix: str, pixels: np.ndarray) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def _images() -> Iterator[Kind]:
    read = lambda path: tuple(read_image(path))  # noqa: E731
    for channels in (1, 3, 4):
        yield Kind(f"PNG of {channels}", "ä b.png", _by_pillow("PNG", channels), read, is_checked=True)
    yield Kind("PNG of 16 bits", "a.png", _by_opencv(".png", _pixels(dtype=np.uint16)), read, is_checked=True)
    palette = _by_pillow("PNG", mode="P", transparency=3)
    yield Kind("PNG with palette", "a.png", palette, read, is_checked=True)
    for options in ({}, {"progressive": True}, {"subsampling": 0, "restart_marker_rows": 1}):
        yield Kind(f"JPEG {options}", "a.jpg", _by_pillow("JPEG", **options), read)
    for compression in ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg"):
        yield Kind(f"TIFF {compression}", "a.tif", _by_pillow("TIFF", compression=compression), read)
    yield Kind("TIFF of 16 bits", "a.tif", _by_opencv(".tif", _pixels(dtype=np.uint16)), read)
    yield Kind("TIFF of floats", "a.tif", _by_opencv(".tif", _pixels().astype(np.float32) / 255), read)
    for kind in ("WEBP", "BMP", "GIF", "PPM", "AVIF", "JPEG2000", "SGI", "PCX"):
        if kind in Image.SAVE or (Image.init() and kind in Image.SAVE):
            yield Kind(kind, f"a.{kind.lower()}", _by_pillow(kind), read)
    yield Kind("lossless WebP with alpha", "a.webp", _by_pillow("WEBP", 4, lossless=True), read)
    yield Kind("PPM of 16 bits", "a.ppm", _by_opencv(".ppm", _pixels(dtype=np.uint16)), read)


def _inputs(root: Path) -> Iterator[Kind]:
    """What degradations read, and digits."""
    grey = _by_opencv(".png", _pixels(1, side=32)[:32, :32])
    labels = _by_opencv(".png", _pixels(1)[..., 0] % 12)
    contents = {"decompression": _by_pillow("JPEG", quality=50), "layouts": labels, "mnist_pca": grey}
    options = {
        "mnist_pca": {"basis": "sklearn:digits/train"},
        "layouts": {"palette": "indices", "num_classes": 12},
        "decompression": {},
    }
    for name in ("decompression", "layouts", "mnist_pca", "colorization", "sr4x"):
        degradation = TASKS[name].build(options.get(name, {}), name)
        content = contents.get(name, _by_pillow("PNG"))
        read = lambda path, degradation=degradation: degradation.read(path.read_bytes(), str(path))  # noqa: E731
        is_png = name != "decompression"
        yield Kind(f"input of {name}", f"a.{'png' if is_png else 'jpg'}", content, read, is_checked=is_png)
    digits = idx_content(np.tile(np.arange(196, dtype=np.uint8), 4 * 20).reshape(20, 28, 28))
    read = lambda path: read_digits(str(path))  # noqa: E731
    yield Kind("digits", "train-images-idx3-ubyte", digits, read)
    yield Kind("packed digits", "train-images-idx3-ubyte.gz", gzip.compress(digits), read, is_checked=True)


# weights --------------------------------------------------------------------------------------------------------------


def _saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def _weights(root: Path) -> Iterator[Kind]:
    checkpoint = small_checkpoint()
    section, network = checkpoint["network_g"], network_of(checkpoint["network_g"])
    rebuilt = lambda path: load_network(path)  # noqa: E731
    saved = lambda state: _saved({**checkpoint, "params_ema": state})  # noqa: E731
    as_zip = {"is_checked": True, "state": checkpoint["params_ema"], "save": saved}
    yield Kind("checkpoint", "net_g_5.pth", _saved(checkpoint), rebuilt, **as_zip)
    old = _saved(checkpoint, _use_new_zipfile_serialization=False)
    yield Kind("checkpoint of old", "net_g_5.pth", old, rebuilt)
    yield Kind("flat checkpoint", "a.pth", _saved(network.state_dict()), read_checkpoint, is_checked=True)
    state = {"epoch": 1, "iter": 2, "optimizers": [], "schedulers": [{"a": torch.ones(3)}]}
    yield Kind("training state", "5.state", _saved(state), read_state, is_checked=True)
    bundled.write_weights(root / "a.safetensors", network.state_dict(), section, {"what": "a tower"})
    content = (root / "a.safetensors").read_bytes()
    yield Kind("safetensors", "w.safetensors", content, lambda path: tuple(bundled.read_weights(path)))
    table = bundled.bundle("a", root / "a.safetensors", root / "weights").parent
    sums = (table / weight_headers.CHECKSUMS).read_bytes()

    def read_shipped(path: Path) -> Any:
        (path.parent / weight_headers.CHECKSUMS).write_bytes(sums)
        return tuple(bundled.read_bundled("a", path.parent))

    yield Kind("shipped weights", "a.safetensors", content, read_shipped, is_checked=True)

    def list_shipped(path: Path) -> Any:
        (path.parent / weight_headers.CHECKSUMS).write_bytes(sums)
        return weight_headers.list_towers(path.parent), weight_headers.described(path.parent)

    yield Kind("header of shipped weights", "a.safetensors", content, list_shipped)

    def read_table(path: Path) -> Any:
        (path.parent / "a.safetensors").write_bytes(content)
        return bundled.known(path.parent), tuple(bundled.read_bundled("a", path.parent))

    yield Kind("table of checksums", weight_headers.CHECKSUMS, sums, read_table)
    yield from _authors_weights()
    small = (weight_headers.FOLDER / "tim_small.safetensors").read_bytes()
    distance = lambda path: PerceptualDistance("tim_small", weights=str(path), calibration="none")  # noqa: E731
    yield Kind("backbone", "b.safetensors", small, distance, is_slow=True)


def _authors_weights() -> Iterator[Kind]:
    """A file of the method's authors as they wrote it, before and since torch wrote checksums, and as safetensors."""
    path = Path(__file__).resolve().parents[1] / "parity" / "hyperrim_decompression.safetensors"
    read, state = lambda path: load_network(path)[0], without_prefix(safetensors.torch.load_file(path))
    old = partial(_saved, _use_new_zipfile_serialization=False)
    for name, called, save in (
        ("", "9_G.pth", _saved),
        (" of old", "9_G.pth", old),
        (" as safetensors", "a.safetensors", None),
    ):
        save = save or safetensors.torch.save
        yield Kind(f"authors' file{name}", called, save(state), read, None, save is _saved, False, True, state, save)


# records --------------------------------------------------------------------------------------------------------------


class _Means(nn.Module):
    def forward(self, images: Tensor) -> tuple[Tensor]:
        return (images.float().mean(dim=(2, 3)),)


def _records(root: Path) -> Iterator[Kind]:
    entry = {"input": "a.png", "made_with": {"seed": 0}, "samples": [{"file": "a_s00.png"}], "sheet": "a_sheet.png"}
    record = json.dumps({"seed": 0, "overview": "all.png", "images": [entry]}).encode()

    def resumed(path: Path) -> Any:
        (path.parent / "a_s00.png").touch()
        with SampleRecord(path, {"seed": 0}) as record:
            done = record.done(Path("a.png"), {"seed": 0}, [path.parent / "a_s00.png"])
            record.overwrite([path.parent / "a_s00.png"])
        return done, sorted(written_files(path))

    yield Kind("samples.json", "samples.json", record, resumed)
    prepare_record.write_record(root, {"task": "sr4x"}, {"a.png": ["b.png", 3, 4]})
    prepared = (root / "prepare.json").read_bytes()
    read = lambda path: prepare_record.read_record(path.parent, {"task": "sr4x"})  # noqa: E731
    yield Kind("prepare.json", "prepare.json", prepared, read, "delete this one", is_checked=True)
    yield from _rarity(root)
    features = FeatureSet(Extractor(_Means(), "means", "frechet", "kid", "0", 3))
    gt = torch.linspace(0, 1, 3 * 6 * 6).mul(255).round().div(255).view(3, 6, 6)
    cached_features(features, gt, root / "cache")
    (path,) = (root / "cache").iterdir()
    cached = lambda path: cached_features(features, gt, path.parent)  # noqa: E731
    yield Kind("cached features", path.name, path.read_bytes(), cached, is_checked=True)


def _rarity(root: Path) -> Iterator[Kind]:
    images, maps, progress = root / "images", root / "maps", root / "r.json.partial"
    labels = TASKS["layouts"].build({"palette": "indices", "num_classes": 3}, "layouts")
    for index in range(3):
        torch.manual_seed(index)
        write_png(images / f"{index}.png", torch.rand(3, 8, 8))
        write_png(maps / f"{index}.png", torch.randint(3, (1, 8, 8)) / 255)
    found = compute_rarity(images, maps, labels, progress=progress)
    found.save(root / "rarity.json")
    pairs = [(images / f"{index}.png", maps / f"{index}.png") for index in range(3)]

    def load(path: Path) -> Any:
        loaded = rarity.Rarity.load(path)
        loaded.check(pairs, labels.describe())
        return loaded.scores, loaded.probabilities, loaded.weight_map(2, torch.ones(3, 4, 4))

    def go_on(path: Path) -> Any:
        done = compute_rarity(images, maps, labels, progress=path)
        return done.scores, done.sources

    yield Kind("rarity.json", "rarity.json", (root / "rarity.json").read_bytes(), load, "rarity: is stale", True)
    yield Kind("progress", "r.json.partial", progress.read_bytes(), go_on, is_checked=True, is_text=True)


# lists, option files, videos ------------------------------------------------------------------------------------------


def _lists(root: Path) -> Iterator[Kind]:
    lines = "".join(f"{index}.png (8,8,3)\n" for index in range(3)).encode()
    names = lambda path: listed_names(path, "datasets: train")  # noqa: E731
    yield Kind("meta-info file", "meta_info.txt", lines, names, is_text=True)
    pairs = {"name": "t", "dataroot_gt": str(root / "images"), "dataroot_lq": str(root / "maps")}
    pairs |= {"io_backend": {"type": "disk"}}
    paired = lambda path: check_pairs({**pairs, "meta_info_file": str(path)})  # noqa: E731
    yield Kind("meta-info file of pairs", "meta_info.txt", lines, paired, is_text=True)
    options = (Path(__file__).resolve().parents[2] / "options").rglob("*.yml")
    content = min(options).read_bytes()
    yield Kind("option file", "o.yml", content, lambda path: dict(read_option_file(path)), is_text=True)


def _videos(root: Path) -> Iterator[Kind]:
    paths = [root / "v.mp4"]
    with VideoFiles(paths, 10) as video:
        for index in range(3):
            video.add(0, np.roll(_pixels(side=32), index))

    def read(path: Path) -> Any:
        found = Video(path)
        return [found.read_next() for _ in found.frames[:10]]

    yield Kind("video", "v.mp4", paths[0].read_bytes(), read, is_slow=True)
