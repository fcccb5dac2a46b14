"""`trimtab serve` in a process group of its own: started, watched and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from trimtab.errors import TrimtabError

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Server:
    """A running server.

    Attributes:
        address: Its address, without a path.
        process: The process that was started; all others are in its group.
        log: What they print.
    """

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None

    def memory(self) -> int:
        """Bytes of memory of all its processes: private ones, and each one's share of what several have."""
        total = 0
        for entry in Path("/proc").iterdir():
            # Processes end while they are looked at.
            with suppress(OSError, ValueError):
                if os.getpgid(int(entry.name)) == self.process.pid:
                    lines = (entry / "smaps_rollup").read_text().splitlines()
                    total += 1024 * sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total


@contextmanager
def running(
    model: str,
    log: Path,
    arguments: Sequence[str] = (),
    options: Sequence[str] = (),
    *,
    seconds: float = 240,
    environment: dict[str, str] | None = None,
) -> Iterator[Server]:
    """Start a server at a free port of this machine, and end it with all its processes.

    Args:
        model: As `trimtab serve` takes it.
        log: Where everything it prints goes.
        arguments: Further arguments of `trimtab serve`.
        options: Options of vLLM.
        seconds: How long it may take to start.
        environment: Variables beside those that are there.

    Yields:
        The server, ready for requests.

    Raises:
        TrimtabError: It ended, or was not ready in time; the message holds the end of what it printed.
    """
    port = _free_port()
    command = [
        sys.executable,
        "-m",
        "trimtab",
        "serve",
        model,
        "--port",
        str(port),
        *arguments,
        "--",
        *options,
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **QUIET, **(environment or {})},
            start_new_session=True,
        )
    server = Server(f"http://127.0.0.1:{port}", process, log)
    try:
        _wait(server, seconds)
        yield server
    finally:
        _end(process)


def _wait(server: Server, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not server.alive:
            raise TrimtabError(f"the server ended with {server.process.returncode}: {_last(server.log)}")
        try:
            with urllib.request.urlopen(f"{server.address}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    raise TrimtabError(f"the server was not ready within {seconds:.0f} s: {_last(server.log)}")


def _last(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-4000:]


def _end(process: subprocess.Popen[bytes]) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what the first one left behind


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
