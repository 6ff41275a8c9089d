"""JPEG against OpenCV and libjpeg: what is written and read, and that saved samples have the file's coefficients."""

from __future__ import annotations

import io
import os
import sys
import threading

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tim_plugin.degradations.base import Observed
from tim_plugin.degradations.jpeg import Jpeg
from tim_plugin.degradations.jpeg_blocks import dct, inverse_dct, rgb_to_ycc, ycc_to_rgb
from tim_plugin.degradations.jpeg_file import read_jpeg
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import encode_png, read_image, round_to_8_bit, write_png
from tim_plugin.utils.silence import stderr_silenced
from tim_plugin.utils.trees import map_tensors


@pytest.fixture
def photo():
    data = pytest.importorskip("skimage.data")
    return torch.from_numpy(data.chelsea()[60:188:2, 100:260:2].copy()).permute(2, 0, 1).float() / 255  # 64x80


def repeated(observed, times):
    return map_tensors(lambda tensor: tensor[None].repeat(times, *[1] * tensor.dim()), observed)


def covered(plane, subsampling):
    """The part of a plane of Y's size that sub-sampled chroma fills, for sides that 16 divides."""
    rows, columns = {"4:4:4": (1, 1), "4:2:2": (1, 2), "4:2:0": (2, 2)}[subsampling]
    return plane[: plane.shape[0] // rows, : plane.shape[1] // columns]


def pillow_jpeg(image, **options):
    """Encode (3, H, W) in [0, 1] by Pillow."""
    file = io.BytesIO()
    pixels = Image.fromarray((image * 255).round().byte().permute(1, 2, 0).numpy())
    pixels.convert(options.pop("mode", "RGB")).save(file, "JPEG", **options)
    return file.getvalue()


@pytest.mark.parametrize("quality", [1, 30, 95])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
def test_what_is_written_and_read_is_opencvs(photo, quality, subsampling):
    flag = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{subsampling.replace(':', '')}")
    bgr = (photo * 255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]
    _, expected = cv2.imencode(
        ".jpg", np.ascontiguousarray(bgr), [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, flag]
    )
    degradation = Jpeg(quality, subsampling)
    assert degradation.encode(photo) == expected.tobytes()
    decoded = torch.from_numpy(cv2.imdecode(expected, cv2.IMREAD_COLOR)[..., ::-1].copy()).permute(2, 0, 1) / 255
    assert torch.equal(degradation.degrade(photo).lq, decoded)


def test_each_image_draws_its_subsampling_from_a_list(photo):
    degradation, alone = Jpeg(10, ["4:2:0", "4:4:4"]), {name: Jpeg(10, name) for name in ("4:2:0", "4:4:4")}
    found = [degradation.encode(photo, torch.Generator().manual_seed(seed)) for seed in range(12)]
    assert {content == alone["4:4:4"].encode(photo) for content in found} == {False, True}
    assert all(content in [one.encode(photo) for one in alone.values()] for content in found)
    several = [degradation.read(content, "x") for content in found]
    given = {key: torch.stack([one.given[key] for one in several]) for key in several[0].given}
    images = degradation.project(torch.stack([one.lq for one in several]), given)
    assert degradation.measure(images, Observed(images, given))["dct_agreement"].min() > 0.99


def test_quality_1_with_subsampling_is_the_default_as_published(photo):
    assert Jpeg().encode(photo) == Jpeg(1, "4:2:0").encode(photo)
    assert Jpeg().degrade(photo).given["tables"].max() == 255


def test_the_coefficients_are_those_of_the_picture():
    data = pytest.importorskip("skimage.data")
    grey = data.camera()[100:196, 100:228]
    _, content = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 60])
    lq, given = read_jpeg(content.tobytes(), "x")
    assert given["sampling"].tolist() == [0, 0] and not given["cb"].any() and not given["cr"].any()
    pixels = inverse_dct(given["y"][None])[0] + 128
    assert (pixels.clamp(0, 255) - lq[0] * 255).abs().max() <= 1.0  # libjpeg's inverse is in integers
    found = dct(torch.from_numpy(grey.astype(np.float32))[None] - 128)[0] / given["tables"][0].repeat(12, 16)
    wanted = given["y"] / given["tables"][0].repeat(12, 16)
    assert ((found - wanted).abs() <= 0.55).all()  # within the interval of each, but for libjpeg's rounding


def test_transforms_go_back(photo):
    images = photo.double()[None]
    assert torch.allclose(ycc_to_rgb(rgb_to_ycc(images)), images, atol=1e-12)
    assert torch.allclose(inverse_dct(dct(images[0])), images[0], atol=1e-12)
    assert torch.allclose(dct(images[0]).norm(), images[0].norm())


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize("quality", [1, 10, 50, 90])
def test_saved_samples_compressed_again_have_the_same_coefficients(photo, tmp_path, quality, subsampling):
    """By libjpeg itself, on the PNG as it is read back; the share that the package reports is right to 1 %."""
    degradation = Jpeg(quality, subsampling)
    observed = degradation.degrade(photo)
    batch, noise = repeated(observed, 3), torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(photo[None], 5, 1, 2)[0]
    saved = degradation.project_for_saving(torch.stack([noise, blurred, photo + 0.2 * (noise - 0.5)]), batch)
    reported = degradation.measure(saved, batch)["dct_agreement"]
    for index, image in enumerate(saved):
        write_png(tmp_path / f"{index}.png", image)
        again = degradation.degrade(read_image(tmp_path / f"{index}.png").rgb)
        assert torch.equal(again.given["tables"], observed.given["tables"])
        parts = [(again.given[key], observed.given[key]) for key in ("y", "cb", "cr")]
        parts = [
            tuple(covered(plane, subsampling) for plane in pair) if index else pair for index, pair in enumerate(parts)
        ]
        share = sum(int((a == b).sum()) for a, b in parts) / sum(a.numel() for a, _ in parts)
        assert share >= 0.99
        assert abs(share - reported[index]) <= 0.01
    assert (saved[0] - saved[1]).abs().mean() > 0.005


@pytest.mark.parametrize("quality", [93, 96, 100])
def test_where_steps_are_as_small_as_rounding_the_share_is_reported_as_it_is(photo, quality):
    """Steps of 1 to 3 cannot be kept through 8-bit pixels; what is reported is what libjpeg finds."""
    degradation = Jpeg(quality, "4:4:4")
    observed = degradation.degrade(photo)
    batch = repeated(observed, 1)
    saved = degradation.project_for_saving(photo[None].roll(3, -1), batch)
    again = degradation.degrade(saved[0])
    parts = [(again.given[key], observed.given[key]) for key in ("y", "cb", "cr")]
    share = sum(int((a == b).sum()) for a, b in parts) / sum(a.numel() for a, _ in parts)
    reported = float(degradation.measure(saved, batch)["dct_agreement"])
    assert abs(share - reported) <= 0.03 and share > 0.6
    before = float(degradation.measure(photo[None].roll(3, -1), batch)["dct_agreement"])
    assert reported > before + 0.1


@pytest.mark.parametrize("size", [(50, 37), (17, 33), (16, 31)])
def test_odd_sizes_are_kept_too(photo, size):
    degradation = Jpeg(10)
    batch = repeated(degradation.degrade(photo[:, : size[0], : size[1]]), 2)
    raw = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    saved = degradation.project_for_saving(raw, batch)
    assert saved.shape == raw.shape and torch.equal(saved, round_to_8_bit(saved))
    assert (degradation.measure(saved, batch)["dct_agreement"] >= 0.99).all()


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:4:4"])
def test_projection_reaches_the_intervals_is_idempotent_and_leaves_what_agrees_alone(photo, subsampling):
    degradation = Jpeg(20, subsampling)
    batch = map_tensors(torch.Tensor.double, repeated(degradation.degrade(photo), 1))
    raw = torch.rand(1, 3, 64, 80, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    once = degradation.project(raw, batch.given)
    assert torch.allclose(degradation.project(once, batch.given), once, atol=1e-9)
    ycc = rgb_to_ycc(once)
    half = batch.given["tables"][:, 0].repeat(1, 8, 10) / 2
    assert ((dct(ycc[:, 0]) - batch.given["y"]).abs() <= half).all()


def test_projection_passes_gradcheck(photo):
    degradation = Jpeg(50, "4:2:0")
    batch = map_tensors(torch.Tensor.double, repeated(degradation.degrade(photo[:, :16, :16]), 1))
    images = torch.rand(1, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: degradation.project(x, batch.given), (images,), nondet_tol=0)


def test_files_of_all_kinds_fit_into_one_batch_and_each_is_projected_by_itself(photo):
    grey = photo.mean(dim=0, keepdim=True).expand(3, -1, -1)
    contents = [Jpeg(30, kind).encode(photo) for kind in ("4:2:0", "4:4:4", "4:2:2", "4:2:0")]
    contents.insert(1, pillow_jpeg(grey, mode="L", quality=40))
    files = [read_jpeg(content, "x") for content in contents]
    batch = Observed(*torch.utils.data.default_collate(files))
    raw = torch.rand(5, 3, 64, 80, generator=torch.Generator().manual_seed(0))
    together = Jpeg().project(raw, batch.given)
    saved = Jpeg().project_for_saving(raw, batch)
    agreement = Jpeg().measure(saved, batch)["dct_agreement"]
    for index, (lq, given) in enumerate(files):
        one = map_tensors(lambda tensor: tensor[None], Observed(lq, given))
        assert torch.allclose(Jpeg().project(raw[index : index + 1], one.given)[0], together[index], atol=1e-5)
        assert torch.equal(Jpeg().measure(saved[index : index + 1], one)["dct_agreement"], agreement[index : index + 1])
    assert (agreement >= 0.99).all()
    assert torch.allclose(saved[1], saved[1].mean(dim=0, keepdim=True).expand(3, -1, -1), atol=1e-6)  # grey stays grey
    assert (saved[0] - saved[0].mean(dim=0, keepdim=True)).abs().max() > 0.05


def test_a_quality_range_is_drawn_from_by_its_generator(photo):
    degradation = Jpeg([1, 90])
    drawn = [degradation.encode(photo, torch.Generator().manual_seed(seed)) for seed in (0, 1, 2, 0)]
    assert drawn[0] == drawn[3] and len(set(drawn)) == 3


def test_a_crop_has_the_blocks_of_its_pixels(photo):
    degradation = Jpeg(30)
    observed = degradation.degrade(photo)
    part = degradation.crop(observed, 16, 32, 32, 48)
    assert torch.equal(part.lq, observed.lq[:, 16:48, 32:80])
    assert torch.equal(part.given["y"], observed.given["y"][16:48, 32:80])
    assert torch.equal(part.given["cb"][:16, :24], observed.given["cb"][8:24, 16:40])
    assert not part.given["cb"][16:].any() and not part.given["cb"][:, 24:].any()
    assert all(part.given[key].shape == (32, 48) for key in ("y", "cb", "cr"))
    with pytest.raises(TimError, match="multiples of 16"):
        degradation.crop(observed, 8, 0, 16, 16)


def test_progressive_files_hold_the_same_coefficients(photo):
    plain, progressive = (read_jpeg(pillow_jpeg(photo, quality=40, progressive=p), "x") for p in (False, True))
    assert all(torch.equal(plain[1][key], progressive[1][key]) for key in plain[1])


def exif_rotated(photo):
    exif = Image.Exif()
    exif[274] = 6
    return pillow_jpeg(photo, exif=exif)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda photo: b"", "mine.jpg: is an empty file"),
        (encode_png, "mine.jpg: is no JPEG file"),
        (lambda photo: Jpeg(50).encode(photo)[:-200], "mine.jpg: is truncated"),
        (lambda photo: pillow_jpeg(photo, mode="CMYK"), "mine.jpg: is a CMYK JPEG; convert it to RGB"),
        (exif_rotated, "mine.jpg: is rotated by its EXIF tag"),
        (lambda photo: Jpeg(50).encode(photo[:, :12]), "mine.jpg: is 80x12, smaller than 16x16"),
        (lambda photo: pillow_jpeg(photo, keep_rgb=True), "mine.jpg: is coded as RGB"),
    ],
)
def test_files_that_cannot_be_used_are_refused_by_name(photo, make, message):
    with pytest.raises(TimError, match=message):
        Jpeg().read(make(photo), "mine.jpg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quality": 0}, "quality 0 must lie within 1 and 100"),
        ({"quality": [50, 10]}, "lowest first"),
        ({"quality": "1"}, "quality '1' must be a whole number"),
        ({"quality": True}, "must be a whole number"),
        ({"subsampling": "4:2:1"}, "subsampling '4:2:1' is not known: did you mean"),
        ({"subsampling": ["4:2:0", "4:1:1"]}, "subsampling '4:1:1' is not known: did you mean"),
        ({"subsampling": []}, "subsampling .. is empty: name one of 4:4:4, 4:2:2, 4:2:0"),
    ],
)
def test_wrong_options_are_named(arguments, message):
    with pytest.raises(TimError, match=message):
        Jpeg(**arguments)


def test_a_quality_is_a_whole_number_of_any_type():
    for quality in (np.int64(7), torch.tensor(7), (np.uint8(7), 7), np.array([7, 7])):
        assert Jpeg(quality=quality).ends == [7, 7]
    with pytest.raises(TimError, match="must be a whole number"):
        Jpeg(quality=np.float32(7))


def test_the_lines_of_libjpeg_do_not_stand_beside_ours(photo, capfd):
    stream, generator = io.BytesIO(), np.random.default_rng(0)
    Image.fromarray((photo.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(stream, "JPEG", quality=50)
    for _ in range(20):
        broken = bytearray(stream.getvalue())
        for position in generator.integers(len(broken) // 3, len(broken) - 2, size=5):
            broken[position] ^= 1 << int(generator.integers(8))
        try:
            read_jpeg(bytes(broken), "x.jpg")
        except TimError as error:
            assert str(error).startswith("x.jpg: ")
    assert capfd.readouterr().err == ""
    with pytest.raises(TimError, match="x.jpg: "):
        read_jpeg(b"\xff\xd8\xff\xd9", "x.jpg")


def test_what_python_says_while_a_library_is_silent_is_not_lost(monkeypatch, capfd):
    """``sys.stderr`` as Python starts it; a holder of the stream, such as a progress bar; threads that overlap."""
    stream = open(2, "w", buffering=1, closefd=False)
    monkeypatch.setattr(sys, "stderr", stream)
    silent, told = threading.Barrier(2), threading.Barrier(2)

    def read():
        with stderr_silenced():
            silent.wait(5)
            os.write(2, b"a library's line\n")
            told.wait(5)

    for number in range(3):
        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for index in range(2):
            silent.wait(5)
            print(f"{number} {index}", file=sys.stderr)
            stream.write("from its holder\n")
            told.wait(5)
        for thread in threads:
            thread.join()
    os.write(2, b"heard again\n")
    assert sys.stderr is stream and stream.fileno() == 2
    told_lines = [f"{number} {index}\nfrom its holder\n" for number in range(3) for index in range(2)]
    assert capfd.readouterr().err == "".join(told_lines) + "heard again\n"


@pytest.mark.parametrize("stream", [None, io.StringIO()], ids=["none", "no file"])
def test_a_standard_error_that_is_no_file_is_left_alone(monkeypatch, capfd, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    with stderr_silenced():
        os.write(2, b"a library's line\n")
        print("ours", file=sys.stderr or io.StringIO())
    assert capfd.readouterr().err == "" and (stream is None or stream.getvalue() == "ours\n")
