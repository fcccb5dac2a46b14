"""A page on nano, in a server of this process, and a browser to look at it."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
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
def served(workplace: Workplace, key: str | None = None) -> Iterator[str]:
    """The address of a page, while it is served."""
    from trimtab.page.opening import address, server_of

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = server_of(workplace, key)
        running = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        running.start()
        while not server.started:
            assert running.is_alive()
            time.sleep(0.02)
        try:
            yield address(listening)
        finally:
            server.should_exit = True
            running.join(20)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, driven by Playwright."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip("there is no Chromium here; install it: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with ExitStack() as stack:
        driver = stack.enter_context(sync_playwright())
        chromium = driver.chromium.launch(executable_path=found, args=OPTIONS)
        stack.callback(chromium.close)
        yield chromium
