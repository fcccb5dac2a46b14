"""How the embedded server is run: at which address, for whom, and how it ends."""

from __future__ import annotations

import asyncio
import copy
import ipaddress
import socket
from typing import TYPE_CHECKING, Any

from trimtab.errors import ModelError, TrimtabError

if TYPE_CHECKING:
    from fastapi import FastAPI

KEY = "TRIMTAB_API_KEY"
"""The environment variable with the API key, where no option gives one."""


def check_installed() -> None:
    """Refuses where the server's packages are missing.

    Raises:
        ModelError: One is; it names the extra.
    """
    from importlib.util import find_spec

    missing = [name for name in ("fastapi", "uvicorn", "prometheus_client") if find_spec(name) is None]
    if missing:
        raise ModelError(f"the server takes the packages {', '.join(missing)}: pip install 'trimtab[serve]'")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_exposure(host: str, key: str | None, *, without_key: bool) -> None:
    """Refuses to be reached from other machines without an API key, unless that was told.

    Raises:
        ModelError: The server would be, or the host is empty.
    """
    if not host.strip():
        raise ModelError(
            "--host is empty, which is no address; give one (127.0.0.1 for this machine alone, 0.0.0.0 for all of its "
            "addresses), or leave it out"
        )
    if key is not None and not key:
        raise ModelError("the API key is empty, which is none; give one, or leave --api-key out")
    if key is None and not without_key and not is_loopback(host):
        raise ModelError(
            f"at {host} other machines reach this server, and it has no API key; give one (--api-key, or the "
            f"environment variable {KEY}), or say --no-api-key"
        )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        TrimtabError: It cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, or asyncio does not switch off waiting for more to send (TCP_NODELAY).
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise TrimtabError(
            f"nothing can listen at {host}, port {port} ({error.strerror}); choose others with --host and --port"
        ) from error
    return made


def run(app: FastAPI, at: socket.socket, *, quiet: bool = False) -> None:
    """Serves until a signal ends it; answers under way have some time to be finished (`Limits.grace_seconds`).

    Where it is `quiet`, only warnings and errors are logged.
    """
    server_of(app, level="WARNING" if quiet else "INFO").run(sockets=[at])


def server_of(app: FastAPI, *, level: str = "INFO") -> Any:
    """The `uvicorn.Server` of an application of `build_app`, which logs on standard error from a level on."""
    import uvicorn

    grace = app.state.embedded.limits.grace_seconds

    class Server(uvicorn.Server):
        """Ends what is under way in order: no more requests, then time for the answers, then an end to each."""

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Called once, when a signal has come."""
            app.state.ends = True
            ending = asyncio.get_running_loop().create_task(_end_after(app, grace))
            await super().shutdown(sockets)
            ending.cancel()
            self._captured_signals.clear()  # they were obeyed: uvicorn would let them end the process once more

    config = uvicorn.Config(
        app,
        log_config=_log_config(level),
        access_log=False,  # `Front` has a line for each request
        timeout_graceful_shutdown=int(grace) + 5,
        h11_max_incomplete_event_size=64 * 1024,
        server_header=False,
    )
    return Server(config)


async def _end_after(app: FastAPI, seconds: float) -> None:
    from trimtab.server.runner import FailedError

    await asyncio.sleep(seconds)
    app.state.embedded.runner.end_all(FailedError("the server is shutting down", status=503, reason="ending"))


def _log_config(level: str) -> dict[str, Any]:
    """Uvicorn's own, on standard error, with the lines of this server among its."""
    from uvicorn.config import LOGGING_CONFIG

    config: dict[str, Any] = copy.deepcopy(LOGGING_CONFIG)
    config["loggers"]["uvicorn"]["level"] = "WARNING"
    config["loggers"]["uvicorn.error"] = {"level": "WARNING"}
    config["loggers"]["trimtab"] = {"handlers": ["default"], "level": level, "propagate": False}
    config["formatters"]["default"]["fmt"] = "%(asctime)s %(levelname)s %(message)s"
    return config
