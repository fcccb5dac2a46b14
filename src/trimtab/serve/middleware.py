"""Between the network and a server's own routes: a request's words about steering are read, judged and made exact.

Plain ASGI, so that streams stream: only the JSON body of a request is held, never that of an answer. It stands behind
the server's check of the API key; where the server checks none, no names are told.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from trimtab.serve.choosing import SteeringChoice, check_elsewhere, choose
from trimtab.serve.refusal import RefusedError

if TYPE_CHECKING:
    from trimtab.serve.serving import Serving

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HEADER = "x-trimtab-steering"
"""The header of a steered answer: digests and strengths."""
MOST_BYTES = 64 * 2**20
"""The largest body of a request; a larger one is refused, since nobody would know what steering it asks for."""

_OWN = "/v1/steerings"
_LARGE = 2**18


class SteeringMiddleware:
    """Reads what requests ask of steering, for the server that keeps a `Serving` as `app.state.trimtab`."""

    def __init__(self, app: App, most_bytes: int = MOST_BYTES) -> None:
        self.app = app
        self.most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; everything but requests that say something in JSON passes through."""
        serving = _serving(scope)
        if serving is None or scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        may_ask = scope["type"] == "http" and scope["method"] == "POST" and not path.startswith(_OWN)
        if not may_ask or not is_json(scope):
            if serving.backend.interface.alone:
                await self.app(scope, receive, send)
                return
            # A way into the server that is not known here may still be steered: it counts until it ends.
            with serving.in_flight.request():
                await self.app(scope, receive, send)
            return
        try:
            await self._judge(path, serving, scope, receive, send)
        except RefusedError as refusal:
            serving.metrics.refused(refusal.reason)
            await reply(send, refusal.status, refusal.to_dict(path))

    async def _judge(self, path: str, serving: Serving, scope: Scope, receive: Receive, send: Send) -> None:
        interface = serving.backend.interface
        discreet = serving.has_key and not path.startswith(interface.guarded)
        body = await _read(scope, receive, self.most_bytes)
        if body is None:
            return  # the client hung up
        with serving.in_flight.request():
            if len(body) < _LARGE:
                chosen = _choose(path, body, serving, discreet)
            else:  # others need not wait for it
                chosen = await asyncio.to_thread(_choose, path, body, serving, discreet)
            if chosen.body is not None:
                body = json.dumps(chosen.body).encode()
                _set_header(scope, "content-length", str(len(body)))
                _remove_header(scope, "transfer-encoding")
            replay, steering = _replay(body, receive), str(chosen)
            del body, chosen  # it may be large, and the answer long
            await self._pass_on(path, steering, serving, scope, replay, send)

    async def _pass_on(
        self, path: str, steering: str, serving: Serving, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if path not in serving.backend.interface.generating:
            await self.app(scope, receive, send)
            return
        if steering:
            serving.metrics.steers()
            request_id = _header(scope, "x-request-id")
            if request_id is None:
                request_id = uuid.uuid4().hex
                _set_header(scope, "x-request-id", request_id)  # a server may take it into its own
            if serving.logs_requests:
                serving.log.info("request %.80r is steered by %s", request_id, steering)
        answered = False

        async def sending(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start" and not answered:
                answered = True
                if message["status"] >= 400:
                    serving.metrics.request("failed")
                else:
                    serving.metrics.request("steered" if steering else "unsteered")
                    if steering:
                        header = (HEADER.encode(), steering.encode("latin-1"))
                        message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            if not answered:
                serving.metrics.request("failed")


def _serving(scope: Scope) -> Serving | None:
    # vLLM, for one, takes the state away when it shuts down.
    return getattr(getattr(scope.get("app"), "state", None), "trimtab", None)


def _choose(path: str, content: bytes, serving: Serving, discreet: bool) -> SteeringChoice:
    """What a body asks for; one that is no JSON object is left to the server, which says what is wrong with it."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return SteeringChoice()
    if not isinstance(body, dict):
        return SteeringChoice()
    interface, served = serving.backend.interface, serving.backend.served()
    if path in interface.generating | interface.naming:
        return choose(path, body, interface, served, serving.library, discreet=discreet)
    check_elsewhere(path, body, interface, served)
    return SteeringChoice()


async def _read(scope: Scope, receive: Receive, most: int) -> bytes | None:
    """The body of a request, of at most so many bytes; None if the client hung up before.

    Raises:
        RefusedError: It is larger.
    """
    announced = _header(scope, "content-length")
    if announced is not None and announced.isdigit():
        _check_size(int(announced), most)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        size += len(part)
        _check_size(size, most)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise RefusedError(
            f"the request is larger than {most} bytes, and is not read for its steering; make it smaller, and give "
            "pictures by their address",
            reason="too_large",
            status=413,
        )


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this body first; afterwards what the network says, which is how a hang-up is noticed."""
    waiting: bytes | None = body

    async def again() -> Message:
        nonlocal waiting
        if waiting is None:
            return await receive()
        content, waiting = waiting, None
        return {"type": "http.request", "body": content, "more_body": False}

    return again


async def reply(send: Send, status: int, content: Any, *more: tuple[bytes, bytes]) -> None:
    """Answer with a JSON document, and `more` headers."""
    body = json.dumps(content).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def is_json(scope: Scope) -> bool:
    """Whether a request says that its body is JSON."""
    kind = _header(scope, "content-type") or ""
    return kind.split(";", 1)[0].strip().lower() == "application/json"


def _header(scope: Scope, name: str) -> str | None:
    found = (value for key, value in scope["headers"] if key.lower() == name.encode())
    return next((value.decode("latin-1") for value in found), None)


def _set_header(scope: Scope, name: str, value: str) -> None:
    _remove_header(scope, name)
    scope["headers"].append((name.encode(), value.encode("latin-1")))


def _remove_header(scope: Scope, name: str) -> None:
    # In place of the list, not within it: the server may share it.
    scope["headers"] = [pair for pair in scope["headers"] if pair[0].lower() != name.encode()]
