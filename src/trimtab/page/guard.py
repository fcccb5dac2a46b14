"""What stands before the page: a policy by which a browser asks no other machine for anything."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException

from trimtab.serve.middleware import App, Message, Receive, Scope, Send

# Gradio's scripts make code of texts, and its styles stand in the page: so much has to be allowed, of this site alone.
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; form-action 'self'; base-uri 'self'; object-src 'none'"
)
_API = "/v1"
_PATIENCE = 0.25
"""Seconds between two looks whether the server ends."""


class Guard:
    """An app in front of the page's.

    It tells browsers the policy, leaves the paths of the API to the server, and hangs up when the server ends.

    Args:
        app: The page.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on.

        Raises:
            HTTPException: It is for a path of the API that the server does not have, as the server shall say.
        """
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if path == _API or path.startswith(f"{_API}/"):
            raise HTTPException(404)

        # Looked up now: further in, the scope names the page's own app.
        server = getattr(scope.get("app"), "state", None)

        async def receiving() -> Message:
            # An open page listens for as long as it is open: a server that ends hangs up, and does not wait for it.
            waiting = asyncio.ensure_future(receive())
            try:
                while not waiting.done():
                    if getattr(server, "ends", False):
                        return {"type": "http.disconnect"}
                    await asyncio.wait([waiting], timeout=_PATIENCE)
                return waiting.result()
            finally:
                waiting.cancel()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
            await send(message)

        if scope["type"] == "http":
            await self._app(scope, receiving, sending)
        else:
            await self._app(scope, receive, send)


_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]
