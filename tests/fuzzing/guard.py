"""What every reader owes for damaged input: one clear error or content, soon, in little memory, nothing executed."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from trimtab.errors import TrimtabError

os.environ["HF_HUB_OFFLINE"] = "1"  # a name that may be one of the Hub's is not looked for there

SECONDS = 20
"""Far more than any of the small inputs needs: what takes longer hangs."""
ROOM = 2 * 2**30
"""Bytes of address space that a reader may take beside what the process has."""
LONGEST = 1200
"""Characters of a message. One line, so far as the input's own words have no line ends."""

_EXECUTES = frozenset(
    "os.system os.exec os.posix_spawn os.spawn os.fork subprocess.Popen pickle.find_class "
    "socket.connect socket.getaddrinfo".split()
)
_watched: list[str] | None = None
_installed = False


class HangsError(Exception):
    """It took too long."""


class FaultError(AssertionError):
    """What a reader must not do, and did."""


def outcome(read: Callable[[], Any]) -> tuple[bool, Any]:
    """Reads something damaged.

    Returns:
        False and the message where it was refused; True and what was read where it was not.

    Raises:
        FaultError: It raised something else, hung, wanted too much memory, or executed something.
    """
    try:
        with _bounded(), _watching() as executed:
            try:
                value = read()
                refusal = None
            except TrimtabError as error:
                value, refusal = None, str(error)
    except HangsError:
        raise FaultError(f"it hangs: longer than {SECONDS} seconds") from None
    except MemoryError as error:
        raise FaultError(f"it wants more than {ROOM / 2**30:.0f} GiB of memory ({error!r:.80})") from error
    except (AssertionError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise FaultError(f"{type(error).__name__} in place of a TrimtabError: {error!s:.200}") from error
    if executed:
        raise FaultError(f"it executes something: {', '.join(sorted(set(executed)))}")
    if refusal is None:
        return True, value
    if not refusal.strip() or len(refusal) > LONGEST:
        raise FaultError(f"a message of {len(refusal)} characters: {refusal[:200]!r}")
    if "Traceback (most recent call last)" in refusal:
        raise FaultError(f"a message with a traceback: {refusal[:200]!r}")
    return False, refusal


@contextmanager
def _bounded() -> Iterator[None]:
    def stop(number: int, frame: Any) -> None:
        raise HangsError

    before = resource.getrlimit(resource.RLIMIT_AS)
    before_handler = signal.signal(signal.SIGALRM, stop)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + ROOM, before[1]))
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before_handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def _address_space() -> int:
    with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 (once per example)
        return int(file.read().split()[0]) * resource.getpagesize()


@contextmanager
def _watching() -> Iterator[list[str]]:
    global _watched, _installed
    if not _installed:  # a hook can't be taken off again; it does nothing while nobody watches
        sys.addaudithook(_hook)
        _installed = True
    _watched = []
    try:
        yield _watched
    finally:
        _watched = None


def _hook(event: str, args: Any) -> None:
    if _watched is not None and event in _EXECUTES:
        _watched.append(event)
