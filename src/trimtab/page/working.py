"""Work in the background: begun, watched, cancelled and resumed from any page that is open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from trimtab.errors import TrimtabError

State = Literal["idle", "working", "cancelling", "cancelled", "done", "failed"]
Point = tuple[float, float]


class CancelledError(Exception):
    """Ends work that somebody cancelled."""


@dataclass(frozen=True)
class Picture:
    """How work stands.

    Attributes:
        title: What the work is.
        state: Whether it goes on, and how it ended.
        stage: What is being done.
        done: How many steps of that are done.
        of: Of how many; None if that is not known.
        note: What else there is to say of it.
        loss: The loss by step.
        followed: The share of checked answers that follow, by step.
        seconds: How long it took so far.
        message: What came of it, or went wrong.
        made: The name of the steering that came of it; empty for none.
    """

    title: str = ""
    state: State = "idle"
    stage: str = ""
    done: int = 0
    of: int | None = None
    note: str = ""
    loss: tuple[Point, ...] = ()
    followed: tuple[Point, ...] = ()
    seconds: float = 0.0
    message: str = ""
    made: str = ""

    @property
    def is_running(self) -> bool:
        """Whether it goes on."""
        return self.state in ("working", "cancelling")


Work = Callable[["Job"], tuple[str, str]]
"""What is done: it tells the job how far it is, and gives what came of it, and the name of the steering made."""


@dataclass
class Job:
    """One piece of work at a time, in a thread of its own.

    Attributes:
        picture: How it stands; another one at every change.
    """

    picture: Picture = Picture()
    _work: Work | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None
    _began: float = 0.0
    _before: float = 0.0

    def begin(self, title: str, work: Work) -> None:
        """Begins work in the background.

        Raises:
            TrimtabError: There is other work going on.
        """
        with self._lock:
            if self.picture.is_running:
                raise TrimtabError(f"{self.picture.title} is under way; wait for it, or cancel it")
            self._work, self._before = work, 0.0
            self._start(Picture(title, "working"))

    def resume(self) -> None:
        """Goes on with what was cancelled or failed."""
        with self._lock:
            if self.picture.state in ("cancelled", "failed") and self._work is not None:
                self._before = self.picture.seconds
                self._start(replace(self.picture, state="working", message=""))

    def cancel(self) -> None:
        """Has the work end at its next step."""
        with self._lock:
            if self.picture.state == "working":
                self.picture = replace(self.picture, state="cancelling")

    def now(self) -> Picture:
        """How it stands, with the time that went by since it last told anything."""
        with self._lock:
            if self.picture.is_running:
                return replace(self.picture, seconds=self._seconds())
            return self.picture

    def wait(self, seconds: float | None = None) -> Picture:
        """Waits for the end, at most so long."""
        if self._thread is not None:
            self._thread.join(seconds)
        return self.picture

    def tell(self, stage: str, done: int, of: int | None = None, note: str = "") -> None:
        """A `trimtab.progress.Tell`: notes how far the work is.

        Raises:
            CancelledError: Somebody cancelled it.
        """
        self._note(stage=stage, done=done, of=of, note=note)

    def point(self, *, loss: Point | None = None, followed: Point | None = None) -> None:
        """Adds a point to the curves; one of the same step takes the place of the older.

        Raises:
            CancelledError: Somebody cancelled it.
        """
        changes = {}
        for name, point in (("loss", loss), ("followed", followed)):
            if point is not None:
                kept = [one for one in getattr(self.picture, name) if one[0] < point[0]]
                changes[name] = (*kept, point)
        self._note(**changes)

    def _note(self, **changes: Any) -> None:
        with self._lock:
            if self.picture.state == "cancelling":
                raise CancelledError
            self.picture = replace(self.picture, seconds=self._seconds(), **changes)

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._began

    def _start(self, picture: Picture) -> None:
        self.picture, self._began = picture, time.monotonic()
        self._thread = threading.Thread(target=self._run, name="trimtab-page-work", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        changes: dict[str, Any] = {}
        work = self._work
        try:
            if work is not None:
                message, made = work(self)
                changes = {"state": "done", "message": message, "made": made}
        except CancelledError:
            changes = {
                "state": "cancelled",
                "message": "Cancelled. Resume goes on behind the last part that was done.",
            }
        except TrimtabError as error:
            changes = {"state": "failed", "message": str(error)}
        except Exception as error:  # noqa: BLE001 (nobody else would hear of it)
            changes = {"state": "failed", "message": f"It failed: {type(error).__name__}: {error}"}
        with self._lock:
            self.picture = replace(self.picture, seconds=self._seconds(), **changes)
