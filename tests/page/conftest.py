"""A page on nano, in a server of this process, and a browser to look at it."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from trimtab.page.workplace import Workplace

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def workplace(engines: Callable[[str], Any]) -> Iterator[Workplace]:
    """Nano with the steerings that ship with it."""
    place = Workplace(engines("nano"))
    place.stock()
    yield place
    place.close()


@contextmanager
def served(
    engine: Any, folder: Path | None = None, key: str | None = None
) -> Iterator[tuple[str, Workplace]]:
    """The address of a page, and what it works on, while it is served as `trimtab play` serves it."""
    from trimtab.page.opening import address, page_app
    from trimtab.server.starting import server_of

    app, workplace = page_app(engine, name="nano", folder=folder, key=key)
    with socket.create_server(("127.0.0.1", 0)) as listening, closing(workplace):
        server = server_of(app, level="ERROR")
        running = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        running.start()
        while not server.started:
            assert running.is_alive()
            time.sleep(0.02)
        try:
            yield address(listening), workplace
        finally:
            server.should_exit = True
            running.join(20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium, driven by Playwright, whose event loop runs in this thread until the module's tests end."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("there is no Chromium here; install it: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with ExitStack() as stack:
        driver = stack.enter_context(sync_playwright())
        chromium = driver.chromium.launch(executable_path=found, args=OPTIONS)
        stack.callback(chromium.close)
        yield chromium
