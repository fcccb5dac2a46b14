"""The page on a server: mounted beside the API, with the server's steerings and its running batch."""

from __future__ import annotations

import threading
import time
import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.errors import SteeringError
from trimtab.page.app import mount
from trimtab.page.workplace import GATES, Workplace

if TYPE_CHECKING:
    import socket

    from fastapi import FastAPI

    from trimtab.engines.transformers import TransformersEngine


def is_installed() -> bool:
    """Whether Gradio is, without which there is no page."""
    return find_spec("gradio") is not None


def page_app(
    engine: TransformersEngine,
    *,
    name: str | None = None,
    folder: Path | None = None,
    may_change: bool = True,
    key: str | None = None,
    origins: tuple[str, ...] = (),
) -> tuple[FastAPI, Workplace]:
    """A server of a model with the page at `/`.

    Args:
        engine: The model.
        name: What clients call it.
        folder: Whose subfolders are the steerings to begin with, and where what is taught is kept; made when it is
            missing. None for a folder that goes with the server.
        may_change: Whether clients of the API may load and unload steerings.
        key: The API key; None asks for none.
        origins: Other sites whose pages may use the API.

    Raises:
        SteeringError: A steering of the folder cannot be used.
    """
    from trimtab.server.app import build_app
    from trimtab.server.embedded import Embedded

    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SteeringError(f"cannot make the folder {folder}: {error.strerror or error}") from error
    embedded = Embedded(
        engine,
        name=name,
        steerings=folder,
        gates=GATES,
        may_change=may_change,
        key=key,
        origins=origins,
    )
    app = build_app(embedded)
    return app, add_page(app, folder, stock=True)


def add_page(app: FastAPI, folder: Path | None = None, *, stock: bool = False) -> Workplace:
    """Puts the page at `/` of a server of `build_app`; close what it gives when the server has ended.

    Args:
        app: The server.
        folder: Where what is taught is kept; None for a folder that goes with the server.
        stock: Whether the server gets the steerings that ship with the model.
    """
    embedded = app.state.embedded
    workplace = Workplace(embedded.engine, embedded, folder)
    if stock:
        workplace.stock()
    mount(app, workplace, key=embedded.key is not None)
    return workplace


def open_browser(server: Any, url: str) -> None:
    """Opens an address in the browser as soon as its server has started."""

    def wait() -> None:
        while not server.started and not server.should_exit:
            time.sleep(0.05)
        if server.started:
            webbrowser.open(url)

    threading.Thread(target=wait, daemon=True).start()


def address(listening: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = listening.getsockname()[:2]
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{local}:{port}/"
