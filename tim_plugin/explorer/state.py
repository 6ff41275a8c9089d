"""What the page shows, as one JSON object; the pictures have addresses of their own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tim_plugin.degradations.tasks import TASKS
from tim_plugin.explorer.session import Session
from tim_plugin.inference.tower import Tower
from tim_plugin.options.tower_spec import TowerSpec

State = dict[str, Any]
# What people are told of a measure: a sentence, and what stands below a picture.
MEASURES = {
    "lr_psnr": ("shrunk, it agrees with the input to {:.0f} dB", "agrees to {:.0f} dB"),
    "l_in_step": ("{:.0%} of its pixels are as light as the input's", "{:.0%} as light"),
    "dct_agreement": ("compressed again, {:.0%} of its data is the input's", "{:.0%} the same data"),
    "pca_error": ("it differs by {:.1%} from the numbers that are given", "differs by {:.1%}"),
}


def package_tower(name: str, what: str, arguments: Mapping[str, Any]) -> State:
    """Return how the page lists a tower of the package."""
    spec = TowerSpec(**{key: value for key, value in arguments.items() if key != "type"})
    kind, scale = spec.degradation["type"], spec.scale
    titles = [task.title for task in TASKS.values() if (task.degradation, task.scale) == (kind, scale)]
    return {"name": name, "what": what, "task": titles[0] if titles else "other"}


def own_tower(tower: Tower) -> State:
    """Return how the page lists a tower of a file that the program was started with."""
    task = TASKS[tower.task].title if tower.task else "your own"
    return {"name": tower.name, "what": f"of the file {Path(tower.name).name}", "task": task}


def session_state(session: Session) -> State:
    """Return what the page shows of a session."""
    current = session.round
    height, width = session.opened.size
    tree, wish = session.tree.answers, current.wish
    return {
        "file": session.file_name,
        "input": {"width": session.opened.picture.shape[2], "height": session.opened.picture.shape[1]},
        "size": {"width": width, "height": height},
        "levels": session.tower.num_levels,
        "wish": {**wish._asdict(), "mask": wish.mask is not None},
        "path": session.path,
        "answers": [_answer(session, number) for number in list(current.shown)],
        "tree": [{"id": number, "parent": tree[number].parent} for number in list(session.visited)],
        "drawn": len(current.drawn) if not current.is_done else current.num_candidates,
        "candidates": current.num_candidates,
        "restoring": current.is_restoring,
        "chosen": None if wish.parent is None else _answer(session, wish.parent),
    }


def _answer(session: Session, number: int) -> State:
    answer, measures = session.tree.answers[number], session.pictures[number].measures
    told, short = [], []
    for name in filter(measures.__contains__, MEASURES):
        for sentences, sentence in zip((told, short), MEASURES[name], strict=True):
            sentences.append(sentence.format(measures[name]))
    about = {"id": number, "seed": answer.seed, "number": answer.number, "visited": number in session.visited}
    return {**about, "measures": told, "short": ", ".join(short)}
