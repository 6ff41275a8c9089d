"""What the page asks for and what it is told: one request in, states of the page out; knows neither gradio nor HTML."""

from __future__ import annotations

import base64
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import Any

from torch import Tensor

from tim_plugin.api import load
from tim_plugin.explorer.choice import Choice, is_json, read_choice, read_mask
from tim_plugin.explorer.examples import example_for
from tim_plugin.explorer.rounds import Stale, Wish
from tim_plugin.explorer.session import Session
from tim_plugin.explorer.state import State, own_tower, package_tower, session_state
from tim_plugin.explorer.visitors import Visitor, Visitors
from tim_plugin.inference.image_inputs import UNNAMED
from tim_plugin.inference.tower import Tower
from tim_plugin.losses.distance import PerceptualDistance
from tim_plugin.utils.errors import TimError, is_out_of_memory
from tim_plugin.utils.image_headers import read_header
from tim_plugin.utils.names import check_name
from tim_plugin.utils.notes import hearing
from tim_plugin.utils.weight_headers import list_towers

MOST_ADVISED_MEGAPIXELS = 100  # the default of tim sample: above it nobody waits for a page
_FAULT = "this is a fault of tim_plugin, and not yours: the terminal in which tim explore runs says more"


@dataclass(frozen=True)
class Opening:
    """What the program was started with.

    Attributes:
        model: The tower that is chosen at first, by name or path.
        image: Name and content of an image that every visitor begins with.
        choice: A choice that every visitor begins with.
        device: ``cpu``, ``cuda``, ``cuda:1``.
        max_megapixels: Of an answer.
        task: What a file of the method's authors is for.
    """

    model: str = "sr4x-small"
    image: tuple[str, bytes] | None = None
    choice: Choice | None = None
    device: str | None = "cpu"
    max_megapixels: float = 4.0
    task: str | None = None


class Desk:
    """Answers the page's requests.

    Args:
        opening: What the program was started with; its tower is loaded at once.

    Raises:
        TimError: The tower cannot be loaded, or the image or choice cannot be opened with it.
    """

    def __init__(self, opening: Opening) -> None:
        self.opening, self.visitors = opening, Visitors()
        self._towers: dict[str, Tower] = {}
        self._lock = threading.Lock()
        self._does = {"open": self._open, "draw": self._draw, "back": self._back, "stop": self._stop}
        first = self.tower(opening.model)
        self._entries = [package_tower(name, facts.what, facts.arguments) for name, facts in list_towers().items()]
        if opening.model not in list_towers():
            self._entries.insert(0, own_tower(first))
        if opening.choice is not None:
            opening.choice.require_tower(first, "--from")
            opening.choice.input_content(None, "--from")
        if opening.image is not None:
            name, content = opening.image
            self._opened(first, content, name)

    @cached_property
    def distance(self) -> PerceptualDistance:
        """By which the most different of many answers are found."""
        return PerceptualDistance("tim_small")

    def tower(self, name: str) -> Tower:
        """Return a tower, which is loaded once.

        Raises:
            TimError: There is none of that name, and the program was not started with it.
        """
        if name not in (self.opening.model, *list_towers()):
            raise TimError(f"there is no tower {name[:60]!r} here: choose one of the list")
        with self._lock:
            if name not in self._towers:
                task = self.opening.task if name == self.opening.model else None
                self._towers[name] = load(name, self.opening.device, task=task)
            return self._towers[name]

    def ask(self, request: Mapping[str, Any]) -> Iterator[State]:
        """Do what the page asks for, and give its state whenever it has changed; a mistake is a sentence in it.

        Args:
            request: ``do`` (``hello``, ``open``, ``draw``, ``back``, ``stop``), the visitor's ``token``, and what that
                needs.
        """
        visitor = None
        try:
            if request.get("do") == "hello":
                token = request.get("token")
                visitor = self.visitors.enter(token if isinstance(token, str) else None)
                yield from self._hello(visitor)
                return
            visitor = self.visitors.get(str(request.get("token")))
            visitor.asked = request.get("number")
            yield from self._does[request["do"]](visitor, request)
        except Stale:
            return
        except TimError as error:
            yield self.state(visitor, message=str(error))
        except (KeyError, TypeError, AttributeError, ValueError):
            traceback.print_exc()
            yield self.state(visitor, message="the page asked for something that is not known: load it again")
        except Exception as error:
            said = "memory ran out: use a smaller image, or fewer answers" if is_out_of_memory(error) else None
            if said is None:
                traceback.print_exc(file=sys.stderr)
            yield self.state(visitor, message=said or _FAULT)

    def _hello(self, visitor: Visitor) -> Iterator[State]:
        if visitor.session is not None:  # the page was loaded again
            yield from self._gone_on(visitor)
        elif self.opening.choice is not None:
            yield from self._restored(visitor, self.opening.choice, None)
        elif self.opening.image is not None:
            name, content = self.opening.image
            yield from self._begun(visitor, self.opening.model, content, name, Wish())
        else:
            yield self.state(visitor)

    def _open(self, visitor: Visitor, request: Mapping[str, Any]) -> Iterator[State]:
        """Open what was uploaded, an example, or the same image again with another tower."""
        files = [visitor.uploads.pop(str(number), None) for number in request.get("uploads", [])]
        if None in files:
            raise TimError("the file has not arrived: send it again")
        choices = [file for file in files if is_json(*file)]
        images = [file for file in files if file not in choices]
        _require_one("pictures", images)
        _require_one("files of the kind choice.json", choices)
        if choices:
            content = images[0][1] if images else None
            yield from self._restored(visitor, read_choice(choices[0][1], choices[0][0]), content)
            return
        model = str(request["model"])
        if images:
            name, content = images[0]
        elif visitor.session is not None and not request.get("example"):
            name, content = visitor.session.file_name, visitor.session.opened.file.content
        else:
            name, content = example_for(self.tower(model))
        wish = Wish(temperature=request.get("temperature", 1.0), count=request.get("count", Wish().count))
        yield from self._begun(visitor, model, content, name, wish)

    def _begun(self, visitor: Visitor, model: str, content: bytes, name: str, wish: Wish) -> Iterator[State]:
        with hearing() as notes:
            session = self._opened(self.tower(model), content, name)
        self._replace(visitor, session)
        yield from self._drawn(visitor, wish, notes)

    def _opened(self, tower: Tower, content: bytes, file_name: str) -> Session:
        file_name = Path(file_name.replace("\\", "/")).name
        try:
            check_name("name", Path(file_name).stem)
        except TimError:
            file_name = UNNAMED
        return self._session(tower, content, file_name, Path(file_name).stem)

    def _session(self, tower: Tower, content: bytes, file_name: str, name: str) -> Session:
        header, most = read_header(content, file_name), self.opening.max_megapixels
        megapixels = header.height * header.width * tower.scale**2 / 1e6
        if megapixels > most:  # said here as a page can follow it
            anew = f", or start it anew by tim explore --max-megapixels {ceil(megapixels)}"
            raise TimError(
                f"{file_name}: is {header.width}x{header.height}, so its answers would have {megapixels:.1f} "
                f"megapixels, and this page makes them up to {most:g}: crop or shrink it"
                + (anew if megapixels <= MOST_ADVISED_MEGAPIXELS else "")
            )
        return Session(tower, content, file_name, name, most, lambda: self.distance)

    def _restored(self, visitor: Visitor, choice: Choice, given: bytes | None) -> Iterator[State]:
        model = choice.model if choice.model in list_towers() else self.opening.model
        tower = self.tower(model)
        choice.require_tower(tower, "choice.json")
        content = choice.input_content(given, "choice.json")
        with hearing() as notes:
            session = self._session(tower, content, choice.file, choice.name)
        session.restore(choice)
        self._replace(visitor, session)
        yield from self._gone_on(visitor, notes)

    def _gone_on(self, visitor: Visitor, notes: Sequence[str] = ()) -> Iterator[State]:
        """Draw what a restored tree still lacks, then the answers that were asked for last."""
        session = self.session(visitor)
        for _ in session.paint():
            yield self.state(visitor, is_drawing=True)
        yield from self._drawn(visitor, session.round.wish, notes)

    def _replace(self, visitor: Visitor, session: Session) -> None:
        if visitor.session is not None:
            visitor.session.stop()
        visitor.session = session

    def _draw(self, visitor: Visitor, request: Mapping[str, Any]) -> Iterator[State]:
        session = self.session(visitor)
        mask, marked = None, request.get("mask")
        if marked is not None:
            mask = read_mask(_of_data_url(marked), session.opened.size)
            if not mask.any():
                raise TimError("nothing is marked: paint over the part of the picture that is to change")
        wish = Wish(request.get("parent"), *(request[key] for key in ("kept", "seed", "temperature", "count")))
        yield from self._drawn(visitor, wish, mask=mask)

    def _back(self, visitor: Visitor, request: Mapping[str, Any]) -> Iterator[State]:
        session = self.session(visitor)
        to = request.get("to")
        yield from self._drawn(visitor, session.last_wish.get(to, Wish(to)))

    def _stop(self, visitor: Visitor, request: Mapping[str, Any]) -> Iterator[State]:
        self.session(visitor).stop()
        yield self.state(visitor)

    def _drawn(
        self, visitor: Visitor, wish: Wish, notes: Sequence[str] = (), mask: Tensor | None = None
    ) -> Iterator[State]:
        message = "; ".join(dict.fromkeys(notes)) or None
        for current in self.session(visitor).draw(wish, mask):
            yield self.state(visitor, is_drawing=not current.is_done, message=message)

    def session(self, visitor: Visitor) -> Session:
        """Return a visitor's session.

        Raises:
            TimError: They have opened no image yet.
        """
        if visitor.session is None:
            raise TimError("open an image first, or take the example")
        return visitor.session

    def state(self, visitor: Visitor | None, is_drawing: bool = False, message: str | None = None) -> State:
        """Return all that the page shows; the page has the pictures from addresses of their own."""
        session = None if visitor is None else visitor.session
        return {
            "token": None if visitor is None else visitor.token,
            "asked": None if visitor is None else visitor.asked,
            "message": message,
            "drawing": is_drawing,
            "towers": self._entries,
            "model": self.opening.model if session is None else session.tower.name,
            **({} if session is None else session_state(session)),
        }


def _require_one(what: str, files: Sequence[tuple[str, bytes]]) -> None:
    if len(files) > 1:
        names = ", ".join(name for name, _ in files)
        raise TimError(f"{names}: are {len(files)} {what}: open one picture, one choice.json, or one of each")


def _of_data_url(text: Any) -> bytes:
    try:
        return base64.b64decode(str(text).split(",", 1)[-1], validate=True)
    except ValueError as error:
        raise TimError("the mask has not arrived whole: draw it again") from error
