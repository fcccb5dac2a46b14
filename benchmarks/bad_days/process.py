"""Commands of trimtab in processes of their own, on a machine of whatever kind.

They are forked, so that each takes a second; what meets a process while it begins is tried on one that is spawned.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import io
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Stream = Literal["file", "closed", "full", "gone"]
"""Where what a command writes goes: to be read back (up to 1 MiB), nowhere, a full disk, a pipe that nobody reads."""


@dataclass(frozen=True)
class Done:
    """A command that has ended.

    Attributes:
        code: Its exit code; negative: the signal that ended it.
        out: What it wrote to standard output.
        err: What it wrote to standard error.
    """

    code: int
    out: str
    err: str

    def wrong(self, *codes: int) -> str | None:
        """What was wrong with how it ended: another code than these, a traceback, no clear line; None for nothing."""
        if "Traceback (most recent call last)" in self.err + self.out:
            return f"a traceback: {self.err.strip().splitlines()[-1][:200]}"
        if self.code not in codes:
            return f"exit code {self.code}: {self.err.strip()[-200:]}"
        if self.code == 2:
            lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
            if len(lines) != 1 and "Usage" not in self.err:
                return f"no clear line: {self.err[-200:]}"
        return None


def warm() -> None:
    """Imports all that commands need, so that their processes begin with it."""
    import torch

    torch.set_num_threads(1)  # no threads, which a fork would lose
    import pydantic  # noqa: F401
    from hypothesis import settings  # noqa: F401
    from transformers import LlamaForCausalLM  # noqa: F401

    import trimtab
    import trimtab.cli.app
    import trimtab.evaluate
    import trimtab.learn.compose
    import trimtab.learn.distillation
    import trimtab.transferring
    import trimtab.tune  # noqa: F401


def start(
    arguments: Sequence[str],
    folder: Path,
    *,
    environment: Mapping[str, str | None] | None = None,
    first: Callable[[], Any] | None = None,
    out: Stream = "file",
    err: Stream = "file",
    stdin: bytes | None = b"",
) -> Running:
    """Starts a command.

    Args:
        arguments: Those of `trimtab`.
        folder: The folder it works in.
        environment: Variables to set; None takes one away.
        first: Called in the process before the command.
        out: Where its standard output goes.
        err: Where its standard error goes.
        stdin: What it reads; None closes its standard input.
    """
    given = tempfile.TemporaryFile()  # noqa: SIM115
    given.write(stdin or b"")
    given.seek(0)
    # Pipes, since a limit of the size of files holds for files; wide ones, since they are read at the end.
    pipes = {name: os.pipe() for name in ("out", "err")}
    for _, writer in pipes.values():
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 2**20)
    kept = {"in": given.fileno(), **{name: writer for name, (_, writer) in pipes.items()}}
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = _child(arguments, folder, environment or {}, first, kept, out, err, stdin is None)
        finally:
            os._exit(code)
    given.close()
    for _, writer in pipes.values():
        os.close(writer)
    return Running(pid, {name: reader for name, (reader, _) in pipes.items()})


_SPAWNED = """\
import os, sys
os.chdir(sys.argv[1])
begun = int(sys.argv[2])
sys.argv[:3] = ["trimtab"]
from trimtab.__main__ import main
os.write(begun, b".")
os.close(begun)
main()
"""


def spawn(arguments: Sequence[str], folder: Path) -> Running:
    """Starts a command in a whole new process, which imports all by itself; comes back as it begins to.

    Args:
        arguments: Those of `trimtab`.
        folder: The folder it works in.
    """
    pipes = {name: os.pipe() for name in ("out", "err", "begun")}
    os.set_inheritable(pipes["begun"][1], True)
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-c", _SPAWNED, str(folder), str(pipes["begun"][1]), *arguments],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, pipes["out"][1], 1),
            (os.POSIX_SPAWN_DUP2, pipes["err"][1], 2),
        ],
        setpgroup=0,
        setsigdef=[signal.SIGINT, signal.SIGTERM],
    )
    for _, writer in pipes.values():
        os.close(writer)
    begun = pipes.pop("begun")[0]
    os.read(begun, 1)
    os.close(begun)
    return Running(pid, {name: reader for name, (reader, _) in pipes.items()})


def _child(
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str | None],
    first: Callable[[], Any] | None,
    kept: Mapping[str, int],
    out: Stream,
    err: Stream,
    no_input: bool,
) -> int:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.setpgid(0, 0)
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    os.chdir(folder)
    os.dup2(kept["in"], 0)
    for number, stream, name in ((1, out, "out"), (2, err, "err")):
        _point(number, stream, kept[name])
    if no_input:
        os.close(0)
    sys.stdin = None if no_input else io.TextIOWrapper(io.FileIO(0, closefd=False), "utf-8")  # type: ignore[assignment,arg-type]
    sys.stdout = _writer(1, out)  # type: ignore[assignment]
    sys.stderr = _writer(2, err)  # type: ignore[assignment]
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # type: ignore[misc]
    sys.argv = ["trimtab", *arguments]
    if first is not None:
        first()
    from trimtab.__main__ import main

    code = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001 (shown, as Python shows it)
        code = 1
        if sys.stderr is not None:
            traceback.print_exc()
    try:
        for stream_ in (sys.stdout, sys.stderr):
            if stream_ is not None:
                stream_.flush()
    except OSError:
        code = 120  # as Python itself ends where its streams cannot be flushed
    return code


def _point(number: int, stream: Stream, kept: int) -> None:
    if stream == "file":
        os.dup2(kept, number)
    elif stream == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), number)
    elif stream == "gone":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, number)
    else:
        os.close(number)


def _writer(number: int, stream: Stream) -> Any:
    if stream == "closed":
        return None
    raw = open(number, "wb", closefd=False)  # noqa: SIM115
    return io.TextIOWrapper(raw, "utf-8", line_buffering=number == 2)


@dataclass(frozen=True)
class Running:
    """A command that was started."""

    pid: int
    kept: Mapping[str, int]

    def signal(self, number: int) -> None:
        """Sends it a signal, if it is still there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def ended(self, seconds: float = 600) -> Done:
        """Waits for its end; one that does not come is made, and is told by the code -9."""
        watched = os.pidfd_open(self.pid)
        try:
            if not select.select([watched], [], [], seconds)[0]:
                self.signal(signal.SIGKILL)
        finally:
            os.close(watched)
        _, status = os.waitpid(self.pid, 0)
        texts = []
        for name in ("out", "err"):
            with open(self.kept[name], "rb") as pipe:  # noqa: PTH123
                texts.append(pipe.read().decode("utf-8", "replace"))
        return Done(os.waitstatus_to_exitcode(status), *texts)


def run(arguments: Sequence[str], folder: Path, **options: Any) -> Done:
    """Runs a command to its end; see `start`."""
    return start(arguments, folder, **options).ended()


def stopped(running: Running, number: int, seconds: float) -> Done:
    """Sends a running command a signal after some seconds, and waits for its end."""
    time.sleep(seconds)
    running.signal(number)
    return running.ended()


# --- what the machine is like: called in the process of the command ---------------------------------------------------


def unprivileged() -> None:
    """Permissions hold for root too: its capabilities are laid down."""
    if os.geteuid() == 0 and sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
            raise OSError(ctypes.get_errno(), "cannot lay down capabilities")


def disk_of(size: int) -> Callable[[], None]:
    """Files of more bytes cannot be written, as on a disk that is full."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return limit


def memory_of(room: int) -> Callable[[], None]:
    """So much more memory than the process has by now can be had."""

    def limit() -> None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return limit


def files_of(count: int) -> Callable[[], None]:
    """So many files can be open at once."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))

    return limit
