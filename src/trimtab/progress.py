"""How far long work is: one way to tell it, and two to show it.

Everything that takes long takes `progress`: True shows it on standard error, a function is told. Work is a row of
stages, each with a name and, mostly, a number of steps.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from trimtab import arguments
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Progress", "Tell", "part_of", "prefixed", "shown", "silent"]

EVERY = 30.0
"""Seconds between two lines about the same stage, where nobody watches a bar."""


class Tell(Protocol):
    """What is told of progress."""

    def __call__(self, stage: str, done: int, of: int | None = None, note: str = "") -> None:
        """Take note.

        Args:
            stage: What is being done; another one than before begins a new stage.
            done: How many of its steps are done; 0 as it begins.
            of: Of how many; None if that is not known.
            note: What else there is to say of this step: a loss, say.
        """
        ...


Progress = bool | Tell
"""True shows progress on standard error, False shows none, a function is told of every step."""


def silent(stage: str, done: int, of: int | None = None, note: str = "") -> None:
    """Tells nobody."""


def prefixed(tell: Tell, prefix: str) -> Tell:
    """Tells the same, of a part of the work: `"json: learning"` for the stage `"learning"` of `"json"`."""

    def told(stage: str, done: int, of: int | None = None, note: str = "") -> None:
        tell(f"{prefix}: {stage}", done, of, note)

    return told


def part_of(tell: Tell, name: str, before: int = 0, total: int | None = None) -> Tell:
    """Tells the steps of an inner piece of work as steps of the stage `name`, after the `before` that were done."""

    def told(stage: str, done: int, of: int | None = None, note: str = "") -> None:
        tell(name, before + done, of if total is None else total, note)

    return told


@contextmanager
def shown(progress: Progress, console: Console | None = None) -> Iterator[Tell]:
    """Shows progress while the block runs, as the caller wants it.

    Args:
        progress: See `Progress`.
        console: Where True shows it; standard error when None. A terminal gets a bar. Anything else gets a line when
            a stage begins, and at most one every 30 seconds after that.

    Yields:
        What to tell.
    """
    if callable(progress):
        yield progress
    elif not isinstance(progress, bool):
        raise TrimtabError(
            f"progress is True, False or a function that is told, not {arguments.in_words(progress)}"
        )
    elif not progress:
        yield silent
    elif console.is_terminal if console is not None else sys.stderr.isatty():
        with _bar(console) as tell:
            yield tell
    else:
        yield _Lines(console)


@contextmanager
def _bar(console: Console | None) -> Iterator[Tell]:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=console or RichConsole(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        current = ""

        def tell(stage: str, done: int, of: int | None = None, note: str = "") -> None:
            nonlocal task, current
            if stage != current:
                bar.remove_task(task)
                # One that is resumed begins in the middle: its speed is measured from there.
                task, current = bar.add_task(stage, total=of, completed=done), stage
            bar.update(task, description=f"{stage}, {note}" if note else stage, completed=done, total=of)

        yield tell


class _Lines:
    def __init__(self, console: Console | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console, self._clock = console, clock
        self._start = self._said = clock()
        self._stage: str | None = None

    def __call__(self, stage: str, done: int, of: int | None = None, note: str = "") -> None:
        now = self._clock()
        if stage == self._stage and now - self._said < EVERY:
            return
        self._stage, self._said = stage, now
        count = "" if not done and not note else f", {done}" if of is None else f", {done} of {of}"
        line = f"[{now - self._start:4.0f} s] {stage}{count}{f', {note}' if note else ''}"
        if self._console is not None:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - what progress=True is for
