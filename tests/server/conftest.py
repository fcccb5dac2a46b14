"""One embedded server of nano for all tests, and what runs others for a moment."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.serve.conformance")

from tests.serve import fixtures  # noqa: E402
from tests.serve.conformance import GATES, KEY  # noqa: E402

from trimtab.server.app import build_app  # noqa: E402
from trimtab.server.embedded import Embedded  # noqa: E402
from trimtab.server.starting import server_of  # noqa: E402


class Log(logging.Handler):
    """The lines of a log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@dataclass
class Running:
    """A server in a thread of this process."""

    app: Any
    uvicorn: Any
    address: str
    thread: threading.Thread
    log: Log = field(default_factory=Log)

    @property
    def embedded(self) -> Any:
        return self.app.state.embedded

    def call(self, work: Any) -> Any:
        """What a coroutine comes to in the server's own loop."""
        return asyncio.run_coroutine_threadsafe(work, self.embedded.runner.loop).result(60)

    def idle(self, seconds: float = 20) -> bool:
        """Whether nothing is under way any more, after some time at most."""
        end = time.monotonic() + seconds
        while self.embedded.runner.writing and time.monotonic() < end:
            time.sleep(0.01)
        return not self.embedded.runner.writing


@contextmanager
def running(engine: Any, **options: Any) -> Iterator[Running]:
    """A server as `trimtab serve` runs it, at a free port."""
    log, handler = logging.Logger("test"), Log()
    log.addHandler(handler)
    app = build_app(Embedded(engine, **{"name": "nano", "log": log, **options}))
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as at:
        at.bind(("127.0.0.1", 0))
        server = server_of(app)
        thread = threading.Thread(target=lambda: server.run(sockets=[at]))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield Running(app, server, f"http://127.0.0.1:{at.getsockname()[1]}", thread, handler)
        finally:
            server.should_exit = True
            thread.join(60)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def run_server() -> Callable[..., Any]:
    """Runs a server, as a context."""
    return running


@pytest.fixture(scope="session")
def engine(engines: Callable[[str], Any]) -> Any:
    return engines("nano")


known, folder, client, expected = fixtures.known, fixtures.folder, fixtures.client, fixtures.expected


@pytest.fixture(scope="session")
def server(engine: Any, folder: Path) -> Iterator[Running]:
    with running(engine, steerings=folder, gates=GATES, key=KEY) as made:
        yield made
