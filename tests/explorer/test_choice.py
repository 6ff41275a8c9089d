"""``choice.json``: the same bits from ``tim sample --from``, and what cannot be is a sentence."""

from __future__ import annotations

import json

import pytest
import torch

from tim_plugin.cli.main import main
from tim_plugin.explorer.choice import LARGEST_INPUT_BYTES, read_choice
from tim_plugin.explorer.tree import Answer, Tree
from tim_plugin.inference.recipes import Draw, LevelRecipe, Patch
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.json_files import with_checksum


def test_a_recipe_keeps_levels_and_patches_those_above():
    tree = Tree(3)
    tree.masks.append(torch.ones(4, 4, dtype=torch.bool))
    first = tree.add(Answer(None, 0, 5, 2))
    second = tree.add(Answer(first, 1, 6, 0, 1.5))
    third = tree.add(Answer(second, 2, 7, 4, 1.0, 0))
    levels = tree.recipe(tree.answers[third])
    assert levels[:2] == (LevelRecipe(Draw(5, 2)), LevelRecipe(Draw(6, 0, 1.5)))
    assert levels[2] == LevelRecipe(Draw(6, 0, 1.5), (Patch(Draw(7, 4), tree.masks[0]),))
    assert tree.path(third) == [first, second, third]


def test_a_part_of_a_tree_has_all_ancestors_and_their_masks():
    tree = Tree(2)
    tree.masks += [torch.zeros(2, 2, dtype=torch.bool), torch.ones(2, 2, dtype=torch.bool)]
    first = tree.add(Answer(None, 0, 0, 0))
    tree.add(Answer(None, 0, 0, 1))
    third = tree.add(Answer(first, 1, 0, 2, mask=1))
    part, names = tree.only([third])
    assert list(part.answers) == [1, 2] and names == {first: 1, third: 2}
    assert len(part.masks) == 1 and part.masks[0].all()
    assert part.recipe(part.answers[2])[1].patches[0].draw == Draw(0, 2)


@pytest.fixture
def saved(chosen, tmp_path):
    path = tmp_path / "choice.json"
    path.write_bytes(chosen[0])
    return path, chosen[1]


def sampled(path, *more):
    """Run ``tim sample --from``; return the PNG, and the entry of the record."""
    main(["sample", "--from", str(path), "-o", str(path.parent / "out"), "--quiet", *map(str, more)])
    record = json.loads((path.parent / "out" / "samples.json").read_text())
    return (path.parent / "out" / "thumb_chosen.png").read_bytes(), record["images"][0]


def test_tim_sample_makes_the_same_file(saved):
    path, png = saved
    made, entry = sampled(path)
    assert made == png
    assert entry["samples"][0]["levels"][1]["patches"] and (path.parent / "out" / entry["sheet"]).is_file()


def test_an_input_that_the_file_does_not_hold_lies_beside_it_or_is_given(saved, thumb):
    path, png = saved
    choice = read_choice(path.read_bytes(), "choice")
    path.write_bytes(choice._replace(content=None).encoded())
    with pytest.raises(TimError, match="give the image thumb.png too"):
        read_choice(path.read_bytes(), "choice").input_content(None, "choice")
    (path.parent / "thumb.png").write_bytes(thumb)
    assert sampled(path)[0] == png
    (path.parent / "thumb.png").rename(path.parent / "moved.png")
    assert sampled(path, "-i", path.parent / "moved.png")[0] == png


def test_a_large_input_is_not_held(saved):
    choice = read_choice(saved[0].read_bytes(), "choice")
    large = choice._replace(content=bytes(LARGEST_INPUT_BYTES + 1))
    assert read_choice(large.encoded(), "choice").content is None


def refused(path, capsys, *more):
    with pytest.raises(SystemExit) as left:
        sampled(path, *more)
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "Traceback" not in said
    return said


def edited(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def test_what_was_edited_is_refused_and_nothing_is_written(saved, capsys):
    path, _ = saved
    edited(path, lambda record: record["answers"][0].update(seed=99))
    assert "was changed since" in refused(path, capsys)
    assert not (path.parent / "out").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(format="another"),
        lambda record: record.update(chosen=77),
        lambda record: record.update(answers=[]),
        lambda record: record["answers"][0].update(parent=3),
        lambda record: record["answers"][1].update(kept=2),
        lambda record: record["answers"][0].update(temperature=1e9),
        lambda record: record["answers"][2].update(mask=5),
        lambda record: record["masks"].__setitem__(0, "no picture"),
        lambda record: record["input"].update(content="?"),
        lambda record: record["input"].update(name="../../etc"),
        lambda record: record["model"].update(levels=10**9),
        lambda record: record.update(size=[12, 16], masks=[]),
    ],
)
def test_what_cannot_be_is_one_sentence(saved, capsys, change):
    edited(saved[0], lambda record: (record.pop("checksum"), change(record)))
    assert "choice.json" in refused(saved[0], capsys)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record["answers"][1].update(seed=2**31), "seed of answer 2 is 2147483648, not from 0 to"),
        (lambda record: record["answers"][0].update(seed=-5), "seed of answer 1 is -5, not from 0 to"),
        (lambda record: record["answers"][0].update(number=10**40), "number of answer 1 is 1000000000"),
        (
            lambda record: record["answers"][0].update(temperature=3.5),
            "temperature of answer 1 is 3.5, not from 0 to 3",
        ),
        (lambda record: record.update(device="meta"), "device: is 'meta', not one of cpu, cuda"),
    ],
)
def test_what_is_beyond_a_limit_is_named_by_its_key_though_the_checksum_is_right(saved, capsys, change, said):
    record = json.loads(saved[0].read_text())
    record.pop("checksum")
    change(record)
    saved[0].write_text(json.dumps(with_checksum(record)))
    assert said in refused(saved[0], capsys)


def test_a_byte_order_mark_is_no_harm(saved):
    saved[0].write_bytes(b"\xef\xbb\xbf" + saved[0].read_bytes())
    assert sampled(saved[0])[0] == saved[1]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\x89PNG", b"{" * 50_000])
def test_a_file_that_is_no_choice_is_one_sentence(tmp_path, capsys, content):
    (tmp_path / "choice.json").write_bytes(content)
    said = refused(tmp_path / "choice.json", capsys)
    assert "is no choice.json of tim explore" in said
    assert ("begins with a list, not with {" if content == b"[]" else "cannot be read as JSON") in said


def test_another_tower_image_or_size_is_refused(saved, capsys, tmp_path):
    path, _ = saved
    assert "was made with a tower" in refused(path, capsys, "-m", "sr4x-small")
    (tmp_path / "other.png").write_bytes(saved[1])
    assert "was made for another image" in refused(path, capsys, "-i", tmp_path / "other.png")
    assert "leave --seed out" in refused(path, capsys, "--seed", 3)
    smaller = {"size": [24, 36], "masks": [], "chosen": 1}
    edited(path, lambda record: record.update(smaller, answers=record["answers"][:1]) or record.pop("checksum"))
    assert "its answers are 36x24" in refused(path, capsys)


@pytest.mark.parametrize("option", [("--batch", 2), ("--memory-gib", 2), ("--frames",), ("--skip-existing",)])
def test_what_a_choice_makes_no_use_of_is_refused_by_name(saved, capsys, option):
    said = refused(saved[0], capsys, *option)
    assert f"error: {option[0]}: choice.json" in said and f"leave {option[0]} out, or --from" in said
    assert not (saved[0].parent / "out").exists()


def forged(path, change):
    """Change a record and give it the checksum that fits."""
    record = json.loads(path.read_text())
    record.pop("checksum")
    change(record)
    path.write_text(json.dumps(with_checksum(record)))


def test_masks_that_are_too_many_together_are_refused_before_one_is_decoded(saved, capsys, monkeypatch):
    monkeypatch.setattr("tim_plugin.explorer.choice.MOST_PIXELS", 24 * 32)
    assert sampled(saved[0])[0] == saved[1]  # one is not too many
    monkeypatch.setattr("tim_plugin.explorer.choice.read_mask", lambda *_: pytest.fail("a mask was decoded"))
    forged(saved[0], lambda record: record.update(masks=record["masks"] * 2))
    assert "its masks, 2 of 32x24, have more than" in refused(saved[0], capsys)


def test_a_mask_that_no_answer_names_is_refused(saved, capsys):
    forged(saved[0], lambda record: record.update(masks=record["masks"] * 2))
    assert "no answer names mask 1" in refused(saved[0], capsys)
