"""Outputs of several files: a name for each, and no two alike."""

from __future__ import annotations

import itertools
import random

import pytest

from tim_plugin.utils.errors import TimError
from tim_plugin.utils.names import check_name, distinct_names


@pytest.mark.parametrize(
    ("files", "names"),
    [
        ([], []),
        (["d/a.png"], ["a"]),
        (["a.png", "b.png"], ["a", "b"]),
        (["v.jpg", "v.png", "w.png"], ["v_jpg", "v_png", "w"]),
        (["a/x.png", "b/x.png"], ["a_x", "b_x"]),
        (["a/x.png", "b/x.png", "b/x.jpg"], ["a_x", "b_x", "x_jpg"]),
        (["/p/a/x.png", "/p/b/c/x.png"], ["a_x", "b_c_x"]),
        (["V.png", "v.png"], ["V_png_0", "v_png_1"]),  # one file on a disk that ignores case
        (["a.png", "a.jpg", "a_png.jpg"], ["a", "a_jpg", "a_png_jpg"]),
        (["a.png", "a.png"], ["a_png_0", "a_png_1"]),
        (["v.tar.gz", "v.tar.xz"], ["v_tar_gz", "v_tar_xz"]),
        (["sklearn:digits/train/0", "sklearn:digits/train/1"], ["0", "1"]),
    ],
)
def test_names(files, names):
    assert distinct_names(files) == names


def test_no_two_names_are_alike_whatever_the_files_are_called():
    draw = random.Random(0)
    parts, ends = ["a", "A", "a_png", "a_jpg", "b", "a.png"], [".png", ".jpg", "", "_png.png"]
    files = ["/".join(path) + end for n in (1, 2) for path in itertools.product(parts, repeat=n) for end in ends]
    for _ in range(200):
        names = distinct_names(draw.sample(files, 12))
        assert len({name.casefold() for name in names}) == 12
        assert not any("/" in name for name in names)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        (".", "name '.' is a folder that is there already: give a name of letters"),
        ("..", "name '..' is a folder"),
        (" .. ", "name ' .. ' is a folder"),
        ("", "name '' is empty"),
        ("  ", "name '  ' is empty"),
        (5, "name must be a text, not 5: put it into quotes"),
        (True, "name must be a text, not True"),
        (["a"], "name must be a text, not ['a']"),
        ("a/b", "name 'a/b' must not hold / or \\"),
        ("a\\b", "must not hold / or \\"),
        ("/elsewhere/x", "must not hold / or \\"),
        ("n" * 300, "n...' is 300 bytes long, and may have 180"),
        ("é" * 100, "é...' is 200 bytes long, and may have 180"),
        ("a\0b", "holds a character that no name can have"),
        ("a\nb", "holds a character that no name can have"),
        ("a\ud800b", "holds a character that no name can have"),
    ],
)
def test_what_can_be_no_name_is_refused(name, wrong):
    with pytest.raises(TimError) as error:
        check_name("name", name)
    assert wrong in str(error.value)


@pytest.mark.parametrize("name", ["a.b", "a b", "...", "-x", "x" * 180, "été", "$HOME", "a:b", "caf\udce9"])
def test_what_can_be_a_name_is_not(name, tmp_path):
    check_name("name", name)
    (tmp_path / name).mkdir()
    assert [path.name for path in tmp_path.iterdir()] == [name]
