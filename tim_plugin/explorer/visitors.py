"""Who has the page open: each with a session of their own, known by a token that nobody can guess.

What is uploaded lies in memory only, so nothing is left when the program ends, however it ends.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tim_plugin.explorer.session import Session
from tim_plugin.utils.errors import TimError

GRACE_S = 60.0  # in which a page that is loaded again finds its session
IDLE_S = 3600.0
MOST_VISITORS = 32
TOKEN = re.compile(r"[A-Za-z0-9_-]{24,64}")  # 18 random bytes and more
MOST_UPLOADS = 4  # of one visitor that are not opened yet
GONE = (
    "this session has ended, as the page was left or the program was started anew: open your image or choice.json again"
)


@dataclass
class Visitor:
    """Somebody who has the page open.

    Attributes:
        token: Names them in addresses.
        session: What they do, once they have opened an image.
        uploads: Names and contents of files that they have sent and not opened yet, by an id.
        ends_at: When they are forgotten, by ``clock``.
        asked: The page's number of what it has asked for last, so that it knows which answer is to that.
    """

    token: str
    ends_at: float
    session: Session | None = None
    uploads: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    asked: int | None = None


class Visitors:
    """All who have the page open.

    Args:
        clock: Tells the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._by_token: dict[str, Visitor] = {}

    def __len__(self) -> int:
        return len(self._by_token)

    def enter(self, token: str | None = None) -> Visitor:
        """Return the visitor of a token if they are still known, else a new one.

        Args:
            token: Drawn by the page, so that it may ask again until it is answered; None, or no token: one is drawn.

        Raises:
            TimError: Too many have the page open.
        """
        self.sweep()
        with self._lock:
            known = self._by_token.get(token or "")
            if known is not None:
                known.ends_at = self._clock() + IDLE_S
                return known
            if len(self._by_token) >= MOST_VISITORS:
                raise TimError(f"{MOST_VISITORS} people have this page open, which is as many as it serves: try later")
            if token is None or not TOKEN.fullmatch(token):
                token = secrets.token_urlsafe(18)
            visitor = Visitor(token, self._clock() + IDLE_S)
            self._by_token[visitor.token] = visitor
            return visitor

    def get(self, token: str) -> Visitor:
        """Return the visitor of a token.

        Raises:
            TimError: They have left.
        """
        self.sweep()
        with self._lock:
            if token not in self._by_token:
                raise TimError(GONE)
            visitor = self._by_token[token]
            visitor.ends_at = self._clock() + IDLE_S
            return visitor

    def upload(self, token: str, name: str, content: bytes) -> str:
        """Keep a file until it is opened; return its id.

        Raises:
            TimError: They have left.
        """
        visitor = self.get(token)
        with self._lock:
            while len(visitor.uploads) >= MOST_UPLOADS:
                visitor.uploads.pop(next(iter(visitor.uploads)))
            number = secrets.token_urlsafe(9)
            visitor.uploads[number] = (name, content)
            return number

    def leave(self, token: str) -> None:
        """Stop a visitor's work, and forget them soon unless they come back."""
        with self._lock:
            visitor = self._by_token.get(token)
            if visitor is None:
                return
            visitor.ends_at = self._clock() + GRACE_S
            if visitor.session is not None:
                visitor.session.stop()

    def sweep(self) -> None:
        """Forget those whose time has come."""
        with self._lock:
            now = self._clock()
            for token in [token for token, one in self._by_token.items() if one.ends_at <= now]:
                gone = self._by_token.pop(token)
                if gone.session is not None:
                    gone.session.stop()

    def close(self) -> None:
        """Forget everybody."""
        with self._lock:
            for visitor in self._by_token.values():
                if visitor.session is not None:
                    visitor.session.stop()
            self._by_token.clear()
