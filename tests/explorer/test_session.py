"""Sessions without a page: rounds, variations, masks, stale work, visitors, and mistakes as sentences."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from tim_plugin.explorer import visitors as visitors_module
from tim_plugin.explorer.desk import Desk, Opening
from tim_plugin.explorer.examples import example_for
from tim_plugin.explorer.rounds import Stale, Wish
from tim_plugin.explorer.session import Session
from tim_plugin.explorer.visitors import GRACE_S, MOST_UPLOADS, MOST_VISITORS, Visitors
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.images import encode_png
from tim_plugin.utils.weight_headers import list_towers


@pytest.fixture
def session(desk, tower_file, thumb):
    return Session(desk.tower(str(tower_file)), thumb, "thumb.png", "thumb", 4.0)


def drawn(session, **wish):
    return list(session.draw(Wish(**{"count": 3, **wish})))[-1]


def images(session, current):
    return torch.stack([session.image(number) for number in current.shown])


def test_the_first_answers_are_the_most_different_samples_of_the_image(session, thumb):
    current = drawn(session, seed=2)
    samples = session.tower.sample(thumb, n=9, seed=2, name="thumb", backend="torch")
    numbers = {session.tree.answers[number].number for number in current.shown}
    assert numbers == set(samples.most_different(3).numbers) and current.num_candidates == 9
    for number in current.shown:
        answer, picture = session.tree.answers[number], session.pictures[number]
        assert torch.equal(session.image(number), samples.images[answer.number])
        assert picture.measures["lr_psnr"] == pytest.approx(float(samples.consistency["lr_psnr"][answer.number]))


def test_answers_come_as_they_are_ready_and_one_comes_first(session):
    shown = [len(current.shown) for current in session.draw(Wish(count=3))]
    assert shown[:2] == [0, 1] and shown[-1] == 3 and sorted(shown) == shown


def test_variations_keep_the_coarse_level_and_none_is_the_parent(session):
    parent = drawn(session).shown[0]
    current = drawn(session, parent=parent, kept=1)
    levels = [session.tree.recipe(session.tree.answers[number]) for number in current.shown]
    own = session.tree.recipe(session.tree.answers[parent])
    assert all(one[0] == own[0] and one[1] != own[1] for one in levels)
    assert (images(session, current) != session.image(parent)).flatten(1).any(dim=1).all()


def test_inside_a_mask_alone_noise_is_drawn_and_styles_stay(asking, marked):
    parent = asking.state["answers"][0]["id"]
    state = asking.draw(parent=parent, mask=marked(rows=slice(0, 4), columns=slice(0, 4)))
    session, number = asking.session, state["answers"][0]["id"]
    own = session.tree.recipe(session.tree.answers[parent])
    levels = session.tree.recipe(session.tree.answers[number])
    assert [one.draw for one in levels] == [one.draw for one in own]
    difference = (session.image(number) - session.image(parent)).abs().amax(dim=0)
    assert state["wish"]["mask"] and difference[:4, :4].max() > difference[16:, 20:].max()


def test_a_mask_without_a_mark_or_of_another_size_is_a_sentence(asking, marked):
    parent = asking.state["answers"][0]["id"]
    assert "nothing is marked" in asking.draw(parent=parent, mask=marked(rows=slice(0, 0)))["message"]
    assert "the mask is 8x8, the picture 32x24" in asking.draw(parent=parent, mask=marked(8, 8))["message"]
    assert "mask has not arrived whole" in asking.draw(parent=parent, mask="data:,?")["message"]
    assert "the mask: cannot be decoded" in asking.draw(parent=parent, mask="data:,aGVsbG8=")["message"]


def test_going_back_shows_the_same_answers_without_drawing_them_again(asking):
    first = [one["id"] for one in asking.state["answers"]]
    asking.draw(parent=first[1], kept=1)
    asking.draw(parent=asking.session.round.shown[0], kept=1)
    assert len(asking.session.path) == 2
    state = asking("back", to=first[1])
    assert state["path"] == [first[1]] and len(asking.states) == 1
    state = asking("back", to=None)
    assert [one["id"] for one in state["answers"]] == first and state["answers"][1]["visited"]
    assert [one["parent"] for one in state["tree"]] == [None, first[1]]


def test_a_second_wish_ends_the_first_and_what_was_drawn_is_kept(session):
    first = session.draw(Wish(count=4))
    next(first)
    next(first)
    drawn(session, seed=1)
    with pytest.raises(Stale):
        next(first)
    again = session.draw(Wish(count=4))
    assert len(next(again).shown) == 1  # not drawn a second time
    assert len(list(again)[-1].shown) == 4


def test_stopped_work_leaves_what_is_there(asking):
    work = asking.session.draw(Wish(seed=5, count=3))
    next(work), next(work)
    state = asking("stop")
    assert len(state["answers"]) == 1 and not state["drawing"]
    with pytest.raises(Stale):
        next(work)


def test_two_at_once_have_what_each_would_have_alone(tower_file, thumb, desk):
    def draw(into, seed):
        session = Session(desk.tower(str(tower_file)), thumb, "thumb.png", "thumb", 4.0)
        into.append(images(session, drawn(session, seed=seed)))

    together: list[list[torch.Tensor]] = [[], []]
    threads = [threading.Thread(target=draw, args=(together[seed], seed)) for seed in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(2):
        alone: list[torch.Tensor] = []
        draw(alone, seed)
        assert torch.equal(together[seed][0], alone[0])


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


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"kept": 2}, "levels to keep: 2 must be a whole number from 0 to 1"),
        ({"kept": True}, "levels to keep"),
        ({"seed": -1}, "the seed: -1"),
        ({"seed": 1.5}, "the seed: 1.5"),
        ({"count": 0}, "the number of answers: 0"),
        ({"count": 10**6}, "the number of answers"),
        ({"temperature": float("nan")}, "variety"),
        ({"temperature": "2"}, "variety"),
        ({"parent": 10**6}, "this answer is gone"),
    ],
)
def test_what_is_out_of_range_is_a_sentence(asking, wish, said):
    parent = asking.state["answers"][0]["id"]
    state = asking.draw(**{"parent": parent, **wish})
    assert said in state["message"] and len(state["answers"]) == 3


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("text.png", b"hello, I am no picture", "text.png: cannot be decoded"),
        ("empty.png", b"", "empty.png"),
        ("one.png", encode_png(torch.rand(3, 1, 1)), "one.png: is 1x1"),
        ("large.png", encode_png(torch.zeros(1, 600, 600)), "--max-megapixels 7"),
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


def test_visitors_are_forgotten_when_they_leave_and_their_uploads_with_them(thumb):
    now = [0.0]
    visitors = Visitors(lambda: now[0])
    one, two = visitors.enter(), visitors.enter()
    assert one.token != two.token and visitors.enter(one.token) is one
    drawn_by_the_page = "a1" * 24
    assert visitors.enter(drawn_by_the_page) is visitors.enter(drawn_by_the_page)
    assert visitors.enter("guess").token != "guess"
    visitors.close()
    one, two = visitors.enter(), visitors.enter()
    for number in range(MOST_UPLOADS + 2):
        visitors.upload(one.token, f"{number}.png", thumb)
    assert len(one.uploads) == MOST_UPLOADS
    visitors.leave(one.token)
    now[0] = GRACE_S - 1
    assert visitors.enter(one.token) is one  # the page was loaded again
    visitors.leave(one.token)
    now[0] = 2 * GRACE_S
    with pytest.raises(TimError, match="this session has ended"):
        visitors.get(one.token)
    assert len(visitors) == 1
    now[0] = visitors_module.IDLE_S + GRACE_S
    assert visitors.enter(two.token) is not two
    while len(visitors) < MOST_VISITORS:
        visitors.enter()
    with pytest.raises(TimError, match="people have this page open"):
        visitors.enter()
    visitors.close()
    assert len(visitors) == 0


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
    opened = tower.open_input(content, file)
    assert min(opened.size) >= 32 and opened.size[0] * opened.size[1] <= 2**16


def test_towers_are_listed_by_task(asking):
    entries = {one["name"]: one for one in asking.state["towers"]}
    assert set(list_towers()) < set(entries)
    assert (
        entries["sr8x-small"]["task"] == "8x super-resolution" and entries["colorize-small"]["task"] == "colourisation"
    )


def test_the_page_alone_imports_gradio():
    importing = [
        path.name for path in Path(visitors_module.__file__).parent.glob("*.py") if "import gradio" in path.read_text()
    ]
    assert importing == ["page.py"]


def test_pictures_of_old_rounds_are_dropped_and_chosen_answers_stay(session, monkeypatch):
    monkeypatch.setattr("tim_plugin.explorer.session.MOST_ROUNDS", 2)
    parent = drawn(session).shown[0]
    for seed in range(4):
        drawn(session, parent=parent, kept=1, seed=seed)
    assert parent in session.pictures and len(session.pictures) == 1 + 2 * 3
    assert len(drawn(session, parent=parent, kept=1, seed=0).shown) == 3  # drawn again
