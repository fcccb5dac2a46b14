"""`trimtab serve` in a process group of its own: started, watched and ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.errors import TrimtabError

QUIET = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Started:
    """A process that was started; all that it starts is in its group.

    Attributes:
        process: The first of them.
        log: What they print.
    """

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

    def said(self) -> str:
        """The end of what they printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-4000:]


@dataclass(frozen=True)
class Server(Started):
    """A server that was started.

    Attributes:
        address: Its address, without a path.
    """

    address: str

    def wait_until_ready(self, seconds: float = 240, beside: Sequence[Started] = ()) -> None:
        """Returns when it answers.

        Args:
            seconds: How long that may take.
            beside: Further processes that it needs.

        Raises:
            TrimtabError: One of them ended, or it took longer; the message holds the end of what was printed.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for one in (self, *beside):
                if not one.alive:
                    raise TrimtabError(f"the server ended with {one.process.returncode}: {one.said()}")
            try:
                with urllib.request.urlopen(f"{self.address}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.3)
        raise TrimtabError(f"the server was not ready within {seconds:.0f} s: {self.said()}")


@contextmanager
def started(module: Sequence[str], log: Path, environment: Mapping[str, str]) -> Iterator[Started]:
    """Start a Python module in a process group of its own, and end all of it.

    Args:
        module: The module and its arguments.
        log: Where everything it prints goes.
        environment: Variables beside those that are there.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **QUIET, **environment},
            start_new_session=True,
        )
    try:
        yield Started(process, log)
    finally:
        _end(process)


@contextmanager
def starting(
    model: str,
    log: Path,
    arguments: Sequence[str] = (),
    options: Sequence[str] = (),
    *,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start a server at a free port of this machine without waiting for it, and end it with all its processes.

    Args:
        model: As `trimtab serve` takes it.
        log: Where everything it prints goes.
        arguments: Further arguments of `trimtab serve`.
        options: Options of vLLM.
        environment: Variables beside those that are there.

    Yields:
        The server, which is not ready yet.
    """
    port = free_port()
    module = ["trimtab", "serve", model, "--engine", "vllm", "--port", str(port), *arguments, "--", *options]
    with started(module, log, environment or {}) as one:
        yield Server(one.process, log, f"http://127.0.0.1:{port}")


@contextmanager
def running(
    model: str,
    log: Path,
    arguments: Sequence[str] = (),
    options: Sequence[str] = (),
    *,
    seconds: float = 240,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """As `starting`, and the server is ready for requests.

    Args:
        model: As `trimtab serve` takes it.
        log: Where everything it prints goes.
        arguments: Further arguments of `trimtab serve`.
        options: Options of vLLM.
        seconds: How long it may take to start.
        environment: Variables beside those that are there.

    Raises:
        TrimtabError: It ended, or was not ready in time; the message holds the end of what it printed.
    """
    with starting(model, log, arguments, options, environment=environment) as server:
        server.wait_until_ready(seconds)
        yield server


def form(name: str, folder: Path) -> dict[str, Any]:
    """What httpx sends to upload a steering; one of that name is replaced.

    Args:
        name: What it shall be called.
        folder: Where its two files are.
    """
    files = {
        "document": (folder / "steering.json").read_bytes(),
        "tensors": (folder / "steering.safetensors").read_bytes(),
    }
    return {"data": {"name": name, "replace": "true"}, "files": files}


def free_port() -> int:
    """A port of this machine at which nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _end(process: subprocess.Popen[bytes]) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
            break
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # what the first one left behind
