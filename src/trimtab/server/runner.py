"""The running batch between a thread, in which the model runs, and the requests, which wait for its tokens.

One thread steps the batch for as long as somebody waits for an answer. What comes out of a step reaches the event loop
in one call, and from there each answer's own queue.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from trimtab.errors import TrimtabError
from trimtab.serve.refusal import RefusedError

if TYPE_CHECKING:
    from trimtab.engines.continuous import Ask, Event, Running
    from trimtab.serve.composition import Composition

_RETRY_AFTER = 2
"""Seconds after which a client may come again when there was no place."""


Queue = asyncio.Queue[tuple["Writing", "Event | RefusedError"]]
"""Where a requester waits for what its answers get: tokens, or why one ended before its time."""


class Batch(Protocol):
    """What is run: `trimtab.engines.continuous.RunningBatch`."""

    def submit(self, ask: Ask) -> Running:
        """Takes an answer to be written; from any thread."""

    def cancel(self, running: Running) -> None:
        """Gives one up; from any thread."""

    def step(self) -> Sequence[Event]:
        """Writes one token of each that has a place."""


class BusyError(RefusedError):
    """There is no place, and too many wait for one."""

    def __init__(self, waiting: int) -> None:
        super().__init__(
            f"{waiting} answers are waiting already; come again in some seconds",
            reason="busy",
            status=429,
        )
        self.retry_after = _RETRY_AFTER


class FailedError(RefusedError):
    """An answer that could not be written to its end."""

    def __init__(self, message: str, *, status: int = 500, reason: str = "failed") -> None:
        super().__init__(message, reason=reason, status=status)


class Writing:
    """One answer on its way. Belongs to the event loop.

    Attributes:
        number: Its own among all that the server ever wrote.
        running: What the batch calls it.
        composition: What steers it.
        queue: Where its requester waits, of this answer and maybe of others.
    """

    def __init__(self, number: int, running: Running, composition: Composition, queue: Queue) -> None:
        self.number = number
        self.running = running
        self.composition = composition
        self.queue = queue


class Runner:
    """Steps a running batch in a thread of its own.

    Args:
        make: Makes the batch; again where one failed as a whole.
        rows: Answers that are written at once.
        waiting: Answers that may wait for a place.
        log: Where failures are told.

    Attributes:
        steered: How many steered answers there were so far.
        loop: The event loop that it was started in.
    """

    def __init__(
        self, make: Callable[[], Batch], *, rows: int, waiting: int, log: logging.Logger | None = None
    ) -> None:
        self._make = make
        self._batch = make()
        self._most = rows + waiting
        self._rows = rows
        self._log = logging.getLogger(__name__) if log is None else log
        self._writing: dict[Running, Writing] = {}
        self._numbers = itertools.count()
        self.steered = 0
        self._lock = threading.Lock()  # of the batch that is current, and of what it has
        self._live: set[Running] = set()
        self._wake = threading.Event()
        self._ends = False
        self._thread: threading.Thread | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    # --- the event loop's side ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to step, for the event loop that this is called in."""
        self.loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="trimtab-batch", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Ends what is under way, and the thread."""
        self.end_all(FailedError("the server is shutting down", status=503, reason="ending"))
        self._ends = True
        self._wake.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    @property
    def writing(self) -> list[Writing]:
        """What is under way, with what waits for a place."""
        return list(self._writing.values())

    def check_room(self, count: int) -> None:
        """Refuses so many answers more where they would wait too long.

        Raises:
            BusyError: There is no room for them.
        """
        if len(self._writing) + count > self._most:
            raise BusyError(max(0, len(self._writing) - self._rows))

    def submit(self, ask: Ask, queue: Queue, composition: Composition = ()) -> Writing:
        """Puts an answer into the batch; what it gets goes into the queue.

        Raises:
            BusyError: There is no room for it.
        """
        self.check_room(1)
        with self._lock:
            running = self._batch.submit(ask)
            self._live.add(running)
        writing = self._writing[running] = Writing(next(self._numbers), running, composition, queue)
        self.steered += bool(composition)
        self._wake.set()
        return writing

    def cancel(self, writing: Writing) -> None:
        """Gives an answer up; its place is free with the next step. One that has ended stays as it is."""
        if self._writing.pop(writing.running, None) is None:
            return
        with self._lock:
            if writing.running in self._live:
                self._live.discard(writing.running)
                self._batch.cancel(writing.running)

    def end_all(self, reason: RefusedError) -> None:
        """Ends all that is under way, for one reason."""
        for writing in self.writing:
            writing.queue.put_nowait((writing, reason))
            self.cancel(writing)

    def _deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            writing = self._writing.get(event.running)
            if writing is None:
                continue  # it was given up meanwhile
            if event.ended:
                del self._writing[event.running]
            told = _failure(event.error) if event.ended == "error" else event
            writing.queue.put_nowait((writing, told))

    def _fail(self, failed: Collection[Running], error: BaseException) -> None:
        for running in failed:
            writing = self._writing.pop(running, None)
            if writing is not None:
                writing.queue.put_nowait((writing, _failure(error)))

    # --- the thread's side -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._ends:
            self._wake.clear()
            with self._lock:
                batch, idle = self._batch, not self._live
            try:
                events = batch.step()  # of an idle one too: what was given up goes
            except Exception as error:  # noqa: BLE001 - told with its traceback, and to those who wait
                self._log.exception("a step of the model failed; all answers under way are given up")
                with self._lock:
                    self._batch = self._make()
                    failed, self._live = self._live, set()
                self._call(self._fail, failed, error)
                continue
            if events:
                with self._lock:
                    self._live.difference_update(event.running for event in events if event.ended)
                self._call(self._deliver, events)
            elif idle:
                self._wake.wait()

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        try:
            self.loop.call_soon_threadsafe(function, *arguments)  # type: ignore[union-attr]
        except RuntimeError:  # the loop is closed: nobody waits any more
            self._ends = True


def _failure(error: BaseException | None) -> RefusedError:
    if isinstance(error, TrimtabError):
        return FailedError(str(error))
    return FailedError(
        f"the model failed while it wrote this answer ({type(error).__name__}); the server's log says why"
    )
