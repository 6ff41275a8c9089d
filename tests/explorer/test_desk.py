"""What the page is told without a page: files of every kind, choices that are restored, and mistakes as sentences."""

from __future__ import annotations

import io

import pytest
import torch

from tim_plugin.explorer.desk import Desk, Opening
from tim_plugin.explorer.examples import example_for
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.image_decoding import decode_image
from tim_plugin.utils.images import encode_png
from tim_plugin.utils.weight_headers import list_towers


def test_a_session_is_restored_from_its_choice(asking, marked, desk):
    first = asking.state["answers"][1]["id"]
    second = asking.draw(parent=first, kept=1, seed=4)["answers"][0]["id"]
    third = asking.draw(parent=second, mask=marked())["answers"][1]["id"]
    expected = [asking.session.png(number) for number in (first, second, third)]
    content = asking.session.choice(third).encoded()
    token = next(desk.ask({"do": "hello"}))["token"]
    upload = desk.visitors.upload(token, "choice.json", content)
    state = list(desk.ask({"do": "open", "token": token, "uploads": [upload]}))[-1]
    restored = desk.visitors.get(token).session
    assert state["message"] is None and [restored.png(number) for number in state["path"]] == expected
    assert [one.seed for one in (restored.tree.answers[number] for number in state["path"])] == [0, 4, 0]


def test_a_tree_is_restored_step_by_step_and_what_was_drawn_before_a_stop_is_kept(desk, chosen):
    token = next(desk.ask({"do": "hello"}))["token"]

    def upload():
        return {"do": "open", "token": token, "uploads": [desk.visitors.upload(token, "mine", chosen[0])]}

    work = desk.ask(upload())
    states = [next(work) for _ in range(3)]
    assert [(one["drawn"], one["candidates"], len(one["path"])) for one in states] == [(0, 3, 0), (1, 3, 1), (2, 3, 2)]
    assert all(one["restoring"] and one["drawing"] for one in states)
    stopped = list(desk.ask({"do": "stop", "token": token}))[-1]
    assert not stopped["drawing"] and len(stopped["path"]) == len(stopped["tree"]) == 2 and list(work) == []
    on = list(desk.ask({"do": "hello", "token": token}))  # the page was loaded again: it goes on
    assert on[0]["restoring"] and len(on[-1]["path"]) == 3 and len(on[-1]["answers"]) == 8 and not on[-1]["drawing"]
    assert list(desk.ask(upload()))[-1]["path"] == on[-1]["path"]


@pytest.mark.parametrize("what", ["replace", "hello_", "drawn", "_open", "", None, ["open"]])
def test_a_page_cannot_ask_for_what_is_not_offered(asking, desk, what):
    session = desk.visitors.get(asking.token).session
    state = list(desk.ask({"do": what, "token": asking.token}))[-1]
    assert state["message"] == "the page asked for something that is not known: load it again"
    assert desk.visitors.get(asking.token).session is session


@pytest.mark.parametrize("content", [b"\xef\xbb\xbf{}", b"[1]", b" {"])
def test_what_was_meant_to_be_a_choice_is_not_called_a_picture(asking, desk, content):
    state = asking("open", uploads=[desk.visitors.upload(asking.token, "mine", content)])
    assert state["message"].startswith("mine: is no choice.json of tim explore")
    state = asking("open", uploads=[desk.visitors.upload(asking.token, "choice.json", b"text")])
    assert "choice.json: is no choice.json of tim explore" in state["message"]


@pytest.mark.parametrize(
    ("kinds", "said"), [("pp", "a0.png, a1.png: are 2 pictures"), ("pcc", "a1.json, a2.json: are 2")]
)
def test_several_files_of_a_kind_are_refused(asking, desk, thumb, chosen, kinds, said):
    contents = {"p": ("png", thumb), "c": ("json", chosen[0])}
    files = [(f"a{index}.{contents[kind][0]}", contents[kind][1]) for index, kind in enumerate(kinds)]
    uploads = [desk.visitors.upload(asking.token, *file) for file in files]
    state = asking("open", model=desk.opening.model, uploads=uploads)
    assert said in state["message"] and "one picture, one choice.json" in state["message"]
    assert state["file"] == "thumb.png" and desk.visitors.get(asking.token).uploads == {}


def test_of_an_animation_the_page_says_that_the_first_picture_is_taken(asking, desk):
    from PIL import Image

    file = io.BytesIO()
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    for _ in range(2):  # also to the second who opens it
        upload = desk.visitors.upload(asking.token, "moving.gif", file.getvalue())
        state = asking("open", model=desk.opening.model, uploads=[upload], count=2)
        assert "moving.gif: has several frames: the first is taken" in asking.states[0]["message"]
        assert state["file"] == "moving.gif" and len(state["answers"]) == 2


def test_the_input_is_shown_with_its_alpha_as_the_answers_are(asking, desk):
    clear = torch.ones(4, 6, 8)
    clear[3, :, :4] = 0
    upload = desk.visitors.upload(asking.token, "clear.png", encode_png(clear))
    state = asking("open", model=desk.opening.model, uploads=[upload], count=2)
    session = desk.visitors.get(asking.token).session
    for png in (session.input_png(), session.png(state["answers"][0]["id"])):
        alpha = decode_image(png, "it").alpha
        assert alpha[0, 0, 0] == 0 and alpha[0, -1, -1] == 1


def test_advice_is_to_allow_more_only_where_that_would_do(asking, desk, tower_file):
    upload = desk.visitors.upload(asking.token, "vast.png", encode_png(torch.zeros(1, 2600, 2600)))
    message = asking("open", model=str(tower_file), uploads=[upload])["message"]
    assert message.endswith("108.2 megapixels, and this page makes them up to 4: crop or shrink it")


def test_what_the_most_different_are_found_by_is_opened_once(tower_file, thumb, monkeypatch):
    opened = []

    class Counted(PerceptualDistance):
        def __init__(self, *args, **kwargs):
            opened.append(args)
            super().__init__(*args, **kwargs)

    for module in ("explorer.desk", "losses.distance"):
        monkeypatch.setattr(f"tim_plugin.{module}.PerceptualDistance", Counted)
    desk = Desk(Opening(model=str(tower_file), image=("thumb.png", thumb)))
    for _ in range(2):
        assert list(desk.ask({"do": "hello"}))[-1]["answers"]
    assert len(opened) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.png", b"hello, I am no picture", "text.png: cannot be decoded"),
        ("empty.png", b"", "empty.png"),
        ("one.png", encode_png(torch.rand(3, 1, 1)), "one.png: is 1x1"),
        (
            "large.png",
            encode_png(torch.zeros(1, 600, 600)),
            "5.8 megapixels, and this page makes them up to 4: crop or",
        ),
        ("video.mp4", b"\0\0\0\x18ftypmp42", "video.mp4: cannot be decoded"),
        ("cut.png", encode_png(torch.rand(3, 9, 9))[:-20], "cut.png"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_opened_is_a_sentence_and_the_session_stays(asking, desk, tower_file, name, content, said):
    upload = desk.visitors.upload(asking.token, name, content)
    state = asking("open", model=str(tower_file), uploads=[upload])
    assert said in state["message"] and state["file"] == "thumb.png" and desk.visitors.get(asking.token).uploads == {}


@pytest.mark.parametrize("kind", ["grey", "alpha", "sixteen", "odd name"])
def test_other_kinds_of_pictures_are_opened(asking, desk, tower_file, kind, tmp_path):
    import cv2

    pixels = {
        "grey": torch.randint(255, (6, 8), dtype=torch.uint8).numpy(),
        "alpha": torch.randint(255, (6, 8, 4), dtype=torch.uint8).numpy(),
        "sixteen": torch.randint(2**15, (6, 8, 3), dtype=torch.int32).numpy().astype("uint16"),
        "odd name": torch.randint(255, (6, 8, 3), dtype=torch.uint8).numpy(),
    }[kind]
    content = cv2.imencode(".png", pixels)[1].tobytes()
    upload = desk.visitors.upload(asking.token, "C:\\photos\\a\x07.png" if kind == "odd name" else "a.png", content)
    state = asking("open", model=str(tower_file), uploads=[upload], count=2)
    assert state["message"] is None and len(state["answers"]) == 2
    saved = desk.visitors.get(asking.token).session.png(state["answers"][0]["id"])
    (tmp_path / "saved.png").write_bytes(saved)
    assert cv2.imread(str(tmp_path / "saved.png"), cv2.IMREAD_UNCHANGED).shape == (24, 32, 4 if kind == "alpha" else 3)


def test_a_request_that_is_not_known_is_a_sentence_too(asking, capsys):
    assert "load it again" in asking("format_disk")["message"]
    assert "load it again" in asking("draw")["message"]
    assert "has not arrived" in asking("open", model="sr4x-small", uploads=["?"])["message"]
    assert "there is no tower" in asking("open", model="../../etc/passwd", example=True)["message"]


def test_each_visitor_begins_with_the_image_that_was_given_and_with_a_session_of_their_own(tower_file, thumb):
    desk = Desk(Opening(model=str(tower_file), image=("thumb.png", thumb)))
    states = [list(desk.ask({"do": "hello"}))[-1] for _ in range(2)]
    sessions = [desk.visitors.get(state["token"]).session for state in states]
    assert sessions[0] is not sessions[1] and states[0]["token"] != states[1]["token"]
    assert states[0]["answers"] == states[1]["answers"]


def test_an_image_or_choice_that_cannot_be_opened_ends_the_start(tower_file, asking):
    with pytest.raises(TimError, match="no.png: cannot be decoded"):
        Desk(Opening(model=str(tower_file), image=("no.png", b"no picture")))
    choice = asking.session.choice(asking.state["answers"][0]["id"])
    with pytest.raises(TimError, match="was made with a tower"):
        Desk(Opening(choice=choice))


@pytest.mark.parametrize("name", list(list_towers()))
def test_there_is_an_example_for_each_tower_of_the_package(desk, name):
    tower = desk.tower(name)
    file, content = example_for(tower)
    assert file.endswith("flower.png") == name.startswith("flowers-")
    opened = tower.open_input(content, file)
    assert min(opened.size) >= 32 and opened.size[0] * opened.size[1] <= 2**16


def test_towers_are_listed_by_task(asking):
    entries = {one["name"]: one for one in asking.state["towers"]}
    assert set(list_towers()) < set(entries)
    assert (
        entries["sr8x-small"]["task"] == "8x super-resolution" and entries["colorize-small"]["task"] == "colourisation"
    )
