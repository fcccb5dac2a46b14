"""What stands before the page: nothing is asked of another machine, and an API key is asked for where there is one."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs

from trimtab.page.style import source

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOGIN = "/login"
_COOKIE = "trimtab-page"
_MOST = 4096
# Gradio's scripts make code of texts, and its styles stand in the page: so much has to be allowed, of this site alone.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; object-src 'none'"
)


class Guard:
    """An app in front of the page's.

    A browser that keeps to the policy it is told asks no other machine for anything, whatever the page's scripts want.
    With an API key, who has not given it gets a form that asks for it: a cookie then stands for it until the server
    ends. A request may also bring the key as `Authorization: Bearer`.

    Args:
        app: The page.
        key: The API key; None asks for none.
    """

    def __init__(self, app: App, key: str | None = None) -> None:
        self._app = app
        self._key = key
        self._token = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes on what may pass."""
        if scope["type"] != "http":
            if scope["type"] == "websocket" and not self._may(scope):
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self._key is not None and path == LOGIN:
            await self._login(scope, receive, sending)
        elif self._may(scope):
            await self._app(scope, receive, sending)
        else:
            await _show_form(sending, 401)

    def _may(self, scope: Scope) -> bool:
        if self._key is None:
            return True
        headers = {name.decode("latin-1").lower(): value for name, value in scope["headers"]}
        given = headers.get("authorization", b"").decode("latin-1")
        if given.lower().startswith("bearer ") and _same(given[len("bearer ") :].strip(), self._key):
            return True
        try:
            cookies = SimpleCookie(headers.get("cookie", b"").decode("latin-1"))
        except CookieError:
            return False
        return _COOKIE in cookies and _same(cookies[_COOKIE].value, self._token)

    async def _login(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await _redirect(send, [])
            return
        body = b""
        more = True
        while more and len(body) <= _MOST:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        given = parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0]
        if len(body) > _MOST or not _same(given.strip(), str(self._key)):
            await _show_form(send, 403, "That is not the key of this server.")
            return
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        cookie = f"{_COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict{secure}"
        await _redirect(send, [(b"set-cookie", cookie.encode())])


_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


async def _redirect(send: Send, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": 303, "headers": [(b"location", b"./"), *headers]})
    await send({"type": "http.response.body", "body": b""})


async def _show_form(send: Send, status: int, wrong: str = "") -> None:
    alert = f'<p role="alert">{wrong}</p>' if wrong else ""
    content = source("login.html").replace("<!-- wrong -->", alert).encode()
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
