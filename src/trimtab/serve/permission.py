"""Who may load and unload steerings."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from trimtab.serve.refusal import RefusedError

if TYPE_CHECKING:
    from fastapi import Request

    from trimtab.serve.serving import Serving

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def may_change(host: str | None, *, has_key: bool, uds: str | None = None) -> bool:
    """Whether clients may load and unload steerings where nobody said so: not if anybody could.

    A `host` of None is all of the machine's addresses; `uds` is a socket in the file system to listen on instead.
    """
    return has_key or bool(uds) or host in _LOOPBACK


def check_permission(serving: Serving, request: Request) -> None:
    """Refuses a request to load or unload where that is not allowed, or from another site's page."""
    if not serving.may_change:
        raise RefusedError(
            "this server was started without --upload: its steerings are those it was started with",
            reason="not_allowed",
            status=403,
        )
    if not _is_own_site(serving, request):
        raise RefusedError(
            "a page of another site may not load or unload steerings; name that site in the server's "
            "--allowed-origins, or ask without a browser",
            reason="not_allowed",
            status=403,
        )


def _is_own_site(serving: Serving, request: Request) -> bool:
    """Whether no page of another site asks: browsers send forms wherever a page wants, and say whose page it was."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site", "none") in ("none", "same-origin")
    if origin in serving.origins:
        return True
    try:
        site = urlsplit(origin)
        name = site.hostname or ""
    except ValueError:
        return False
    if site.netloc != request.headers.get("host"):
        return False
    # A name can be made to lead here by whoever owns it, and its page would then be of this very host.
    return serving.has_key or name == "localhost" or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
