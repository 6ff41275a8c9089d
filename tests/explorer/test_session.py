"""Sessions without a page: rounds, variations, masks, stale work, visitors, and mistakes as sentences."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from tim_plugin.explorer import visitors as visitors_module
from tim_plugin.explorer.choice import read_choice
from tim_plugin.explorer.rounds import Stale, Wish
from tim_plugin.explorer.session import Session
from tim_plugin.explorer.visitors import GRACE_S, MOST_UPLOADS, MOST_VISITORS, Visitors
from tim_plugin.utils.errors import TimError


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


def held_masks(session):
    return sum(mask.numel() > 0 for mask in session.tree.masks)


def test_masks_that_no_answer_or_round_names_are_dropped(asking, marked, monkeypatch):
    monkeypatch.setattr("tim_plugin.explorer.session.MOST_ROUNDS", 2)
    session, parent = asking.session, asking.state["answers"][0]["id"]
    assert "the seed" in asking.draw(parent=parent, mask=marked(), seed=-1)["message"]
    asking.draw(parent=None, mask=marked())
    assert held_masks(session) == 0  # of a wish that is refused, and of one that has no use for it
    chosen = asking.draw(parent=parent, mask=marked())["answers"][0]["id"]
    asking.draw(parent=chosen, kept=1)
    for last in range(13, 17):
        asking.draw(parent=parent, mask=marked(rows=slice(4, last)))
    assert held_masks(session) == 3  # two rounds, and the answer that was looked into
    tree = read_choice(session.choice(session.round.shown[0]).encoded(), "choice").tree
    assert len(tree.masks) == 2 and tree.masks[1][15].any() and not tree.masks[0][12].any()
    assert asking.draw(parent=parent, mask=marked(rows=slice(4, 13)))["message"] is None  # anew
    asking.draw(parent=None, seed=1)
    asking.draw(parent=None, seed=2)
    assert asking("back", to=parent)["message"] is None and session.round.wish.mask is not None  # drawn again


def test_the_bytes_of_pictures_are_bounded_and_the_newest_round_stays(session, monkeypatch):
    first = drawn(session)
    images_before, parent = images(session, first), first.shown[0]
    a_round = sum(len(session.pictures[number].png) for number in first.shown)
    monkeypatch.setattr("tim_plugin.explorer.session.MOST_HELD_BYTES", 2 * a_round)
    for seed in range(4):
        drawn(session, parent=parent, kept=1, seed=seed)
    assert parent in session.pictures and len(session.rounds) == 1 and len(session.pictures) == 1 + 3
    with pytest.raises(TimError, match="this answer is gone"):
        session.png(first.shown[1])
    assert torch.equal(images(session, drawn(session)), images_before)  # drawn again
    monkeypatch.setattr("tim_plugin.explorer.session.MOST_HELD_BYTES", 1)
    assert len(drawn(session, seed=5).shown) == 3


def test_a_choice_leaves_out_the_oldest_answers_whose_masks_are_too_many(asking, marked, monkeypatch):
    parent, session = asking.state["answers"][0]["id"], asking.session
    for last in range(12, 15):
        chosen = asking.draw(parent=parent, mask=marked(rows=slice(4, last)))["answers"][0]["id"]
        asking.draw(parent=chosen, kept=1)
    assert len(session.choice(chosen).tree.masks) == 3
    for module in ("session", "choice"):
        monkeypatch.setattr(f"tim_plugin.explorer.{module}.MOST_PIXELS", 2 * 24 * 32)
    choice = read_choice(session.choice(chosen).encoded(), "choice")
    assert len(choice.tree.masks) == 2 and choice.tree.masks[1][13].any()
    for module in ("session", "choice"):
        monkeypatch.setattr(f"tim_plugin.explorer.{module}.MOST_PIXELS", 24 * 32 - 1)
    with pytest.raises(TimError, match="a choice.json holds up to 0 masks of this size"):
        session.choice(chosen)
