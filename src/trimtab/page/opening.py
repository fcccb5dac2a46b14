"""From a model to a page in the browser: a server of its own, and the browser that is sent there."""

from __future__ import annotations

import socket
import threading
import time
import webbrowser
from collections.abc import Callable
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError, TrimtabError
from trimtab.page.app import check_installed, mount
from trimtab.page.workplace import Workplace
from trimtab.serve.permission import may_change

if TYPE_CHECKING:
    from trimtab.engines.base import Engine


def play(
    load: Callable[[], Engine],
    *,
    steerings: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    key: str | None = None,
    browser: bool = True,
    note: Callable[[str], None] = lambda text: None,
) -> None:
    """Serves the page until it is interrupted.

    Args:
        load: Loads the model.
        steerings: A folder whose subfolders are the steerings to begin with; what is taught is kept there.
        host: The address to listen on.
        port: The port; 0 for a free one.
        key: The API key that is asked for; None for none.
        browser: Whether to open the page in a browser.
        note: Told where the page is.

    Raises:
        TrimtabError: The address cannot be listened on, or is to be open to other machines without a key.
        ModelError: A package is missing, or the model cannot be steered here.
        SteeringError: A steering in the folder cannot be used.
    """
    if key == "" or (key is None and not may_change(host, has_key=False)):
        raise TrimtabError(
            f"the page would be open to everybody who reaches {host}; give it a key: --api-key, or listen on 127.0.0.1"
        )
    check_installed()
    listening = _listening(host, port)
    with listening:
        engine = load()
        if not isinstance(engine, TransformersEngine):
            raise ModelError("the page needs a model that runs in this process, on transformers")
        with closing(workplace_of(engine, steerings)) as workplace:
            server = server_of(workplace, key)
            url = address(listening)
            note(f"the page is at {url} (Ctrl+C ends it)")
            if browser:
                threading.Thread(target=_open, args=(server, url), daemon=True).start()
            server.run(sockets=[listening])


def workplace_of(engine: TransformersEngine, folder: Path | None) -> Workplace:
    """A workplace with the steerings of a folder, which may be new and empty, and those that ship with the model."""
    workplace = Workplace(engine, folder=folder)
    if folder is not None:
        if folder.is_dir():
            workplace.library.load_folder(folder)
        else:
            folder.mkdir(parents=True)
    return workplace


def server_of(workplace: Workplace, key: str | None = None) -> Any:
    """A `uvicorn.Server` with the page at `/`."""
    import uvicorn
    from fastapi import FastAPI

    app = FastAPI(openapi_url=None)
    mount(app, workplace, key=key)
    return uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3))


def address(listening: socket.socket) -> str:
    """Where a browser on this machine finds it."""
    host, port = listening.getsockname()[:2]
    local = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{local}:{port}/"


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens, before a model is loaded for it."""
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:  # a name
        family = socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise TrimtabError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}; choose another --port (0 for a free "
            "one) or --host"
        ) from error
    return listening


def _open(server: Any, url: str) -> None:
    while not server.started:
        if server.should_exit:
            return
        time.sleep(0.05)
    webbrowser.open(url)
