"""Between the network and vLLM's routes: a request's words about steering are read, judged and made exact.

Plain ASGI, so that streams stream: only the JSON body of a request is held, never that of an answer. It stands behind
vLLM's check of the API key (`trimtab.serve.endpoints` puts it there).
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import TYPE_CHECKING, Any

from trimtab.serve.choosing import GENERATING, NAMING, Chosen, choose
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
"""What a request's body may take; pictures as base64 included."""

_LARGE = 2**18

_log = logging.getLogger("vllm.trimtab")  # below vLLM's own logger, which has the handlers


class SteeringMiddleware:
    """Reads what requests ask of steering, for the server that keeps a `Serving` as `app.state.trimtab`.

    Args:
        app: What comes after it.
        most_bytes: What the body of a request may take.
    """

    def __init__(self, app: App, most_bytes: int = MOST_BYTES) -> None:
        self.app = app
        self.most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection; everything but requests that may be steered passes through.

        Args:
            scope: The connection.
            receive: Gives the request's body.
            send: Takes the answer.
        """
        serving = _serving(scope)
        if serving is None or scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if scope.get("method") != "POST" or path not in GENERATING | NAMING or not _is_json(scope):
            # A way into vLLM that is not known here may still be steered: it counts until it ends.
            with serving.in_flight.request():
                await self.app(scope, receive, send)
            return
        try:
            body = await _read(scope, receive, self.most_bytes)
            if body is None:
                return  # the client hung up
            with serving.in_flight.request():
                if len(body) < _LARGE:
                    chosen = _choose(path, body, serving)
                else:  # others need not wait for it
                    chosen = await asyncio.to_thread(_choose, path, body, serving)
                await self._pass_on(path, body, chosen, serving, scope, receive, send)
        except RefusedError as refusal:
            serving.metrics.refused(refusal.reason)
            await reply(send, refusal.status, refusal.to_dict(path))

    async def _pass_on(
        self,
        path: str,
        body: bytes,
        chosen: Chosen,
        serving: Serving,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        if chosen.body is not None:
            body = json.dumps(chosen.body).encode()
            _set_header(scope, "content-length", str(len(body)))
            _remove_header(scope, "transfer-encoding")
        if path in GENERATING:
            serving.metrics.request(steered=bool(chosen.use))
        if chosen.use:
            request_id = _header(scope, "x-request-id")
            if request_id is None:
                request_id = uuid.uuid4().hex
                _set_header(scope, "x-request-id", request_id)  # vLLM takes it into its own
            steering = str(chosen)
            _log.info("request %.80r is steered by %s", request_id, steering)
            send = _with_header(send, HEADER, steering)
        await self.app(scope, _replay(body, receive), send)


def _serving(scope: Scope) -> Serving | None:
    # vLLM takes the state away when it shuts down.
    return getattr(getattr(scope.get("app"), "state", None), "trimtab", None)


def _choose(path: str, content: bytes, serving: Serving) -> Chosen:
    """What a body asks for; one that is no JSON object is left to vLLM, which says what is wrong with it."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return Chosen(None, (), named=False)
    if not isinstance(body, dict):
        return Chosen(None, (), named=False)
    return choose(path, body, serving.served(), serving.library)


async def _read(scope: Scope, receive: Receive, most: int) -> bytes | None:
    """The body of a request; None if the client hung up before its end."""
    too_large = RefusedError(
        f"the request is larger than {most} bytes; send fewer messages, or load the steering and name it",
        reason="too_large",
        status=413,
    )
    announced = _header(scope, "content-length")
    if announced is not None and announced.isdigit() and int(announced) > most:
        raise too_large
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise too_large
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this body first; afterwards what the network says, which is how a hang-up is noticed."""
    waiting = True

    async def again() -> Message:
        nonlocal waiting
        if waiting:
            waiting = False
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


def _with_header(send: Send, name: str, value: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ()), (name.encode(), value.encode("latin-1"))]
            message = {**message, "headers": headers}
        await send(message)

    return sending


async def reply(send: Send, status: int, content: Any) -> None:
    """Answer with a JSON document.

    Args:
        send: Takes the answer.
        status: Of HTTP.
        content: What is written as JSON.
    """
    body = json.dumps(content).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _is_json(scope: Scope) -> bool:
    kind = _header(scope, "content-type") or ""
    return kind.split(";", 1)[0].strip().lower() == "application/json"


def _header(scope: Scope, name: str) -> str | None:
    wanted = name.encode()
    found: Iterable[bytes] = (value for key, value in scope["headers"] if key.lower() == wanted)
    return next((value.decode("latin-1") for value in found), None)


def _set_header(scope: Scope, name: str, value: str) -> None:
    _remove_header(scope, name)
    scope["headers"].append((name.encode(), value.encode("latin-1")))


def _remove_header(scope: Scope, name: str) -> None:
    # In place of the list, not within it: the server may share it.
    scope["headers"] = [pair for pair in scope["headers"] if pair[0].lower() != name.encode()]
