"""Outermost of the embedded server: who may ask, how much may be sent, under which id, and one line of log.

Plain ASGI, so that streams stream. Nothing of what was asked or answered is in the log.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import re
import time
import uuid
from dataclasses import dataclass
from typing import Any

from trimtab.serve.middleware import HEADER, App, Message, Receive, Scope, Send, reply
from trimtab.serve.refusal import RefusedError
from trimtab.server.limits import Limits

RECORD = "trimtab"
"""The entry of a connection's scope with its `Record`."""
OPEN = frozenset({"/health", "/metrics"})
"""Paths at which no key is asked for."""

_API = "/v1"
_ID = re.compile(r"[\x21-\x7e]{1,128}")
_HUNG_UP = 499


@dataclass
class Record:
    """What is told of a request in the log.

    Attributes:
        id: Its id.
        prompt: The tokens of its prompts, once they are known.
        written: The tokens of its answers.
        status: Of the answer; None as long as there is none.
        steering: What steered it.
    """

    id: str
    prompt: int = 0
    written: int = 0
    status: int | None = None
    steering: str = ""


class Front:
    """What every request goes through first.

    Args:
        app: What is behind it.
        key: The API key; None asks for none.
        limits: How much may be sent, and how slowly.
        log: Gets one line for each request.
    """

    def __init__(self, app: App, *, key: str | None, limits: Limits, log: logging.Logger) -> None:
        self.app = app
        self._key = None if key is None else _digest(key)
        self._limits = limits
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "websocket" and not self._may(scope):
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start = time.perf_counter()
        record = Record(_request_id(scope))
        scope[RECORD] = record
        scope["headers"] = [
            *(pair for pair in scope["headers"] if pair[0].lower() != b"x-request-id"),
            (b"x-request-id", record.id.encode()),
        ]

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                headers = list(message.get("headers", ()))
                record.steering = next(
                    (value.decode() for name, value in headers if name.lower() == HEADER.encode()), ""
                )
                message = {**message, "headers": [*headers, (b"x-request-id", record.id.encode())]}
            await send(message)

        try:
            await self._admit(scope, receive, sending)
        finally:
            if scope["path"] not in OPEN:
                self._tell(scope, record, time.perf_counter() - start)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._may(scope):
            await _refuse_key(scope, send)
            return
        if getattr(scope["app"].state, "ends", False):
            refusal = RefusedError("the server is shutting down", reason="ending", status=503)
            await reply(send, 503, refusal.to_dict(), (b"connection", b"close"))
            return
        try:
            await self.app(scope, _Bounded(scope, receive, self._limits), send)
        except RefusedError as refusal:  # of the body, wherever it is read
            if scope[RECORD].status is not None:
                raise
            await reply(send, refusal.status, refusal.to_dict(), (b"connection", b"close"))

    def _may(self, scope: Scope) -> bool:
        if self._key is None or scope["path"] in OPEN:
            return True
        if scope.get("method") == "OPTIONS":  # a browser asks what it may ask, and cannot send the key
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        return hmac.compare_digest(_digest(_key_of(given)), self._key)

    def _tell(self, scope: Scope, record: Record, seconds: float) -> None:
        tokens = f", {record.prompt} tokens in, {record.written} out" if record.prompt else ""
        self._log.info(
            "request %r: %s %.200r %s%s%s, %.3f s",
            record.id,
            scope["method"],
            scope["path"],
            _HUNG_UP if record.status is None else record.status,
            f", steered by {record.steering}" if record.steering else "",
            tokens,
            seconds,
        )


class _Bounded:
    """A `receive` that gives no more of a body than it may have, and does not wait for it for ever."""

    def __init__(self, scope: Scope, receive: Receive, limits: Limits) -> None:
        self._receive = receive
        self._limits = limits
        self._left = limits.body_bytes
        self._end = asyncio.get_running_loop().time() + limits.body_seconds
        self._whole = False
        announced = dict(scope["headers"]).get(b"content-length", b"")
        if announced.isdigit() and int(announced) > limits.body_bytes:
            raise self._too_large()

    async def __call__(self) -> Message:
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError as error:
            raise RefusedError(
                f"the request was not complete after {self._limits.body_seconds:g} seconds",
                reason="timeout",
                status=408,
            ) from error
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                raise self._too_large()
            self._whole = not message.get("more_body", False)
        return message

    def _too_large(self) -> RefusedError:
        return RefusedError(
            f"what was sent is larger than {self._limits.body_bytes} bytes; make it smaller",
            reason="too_large",
            status=413,
        )


def _request_id(scope: Scope) -> str:
    given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


def _key_of(header: bytes) -> str:
    """The key of an `Authorization` header: a bearer's token, or the password by which a browser logs in to a page."""
    scheme, _, rest = header.decode("latin-1").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(rest.strip(), validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""


def _digest(key: str) -> bytes:
    # Of equal length, so that not even the length of the key shows in the time that a comparison takes.
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


async def _refuse_key(scope: Scope, send: Send) -> None:
    refusal = RefusedError(
        "this server asks for its API key; send it as Authorization: Bearer ...",
        reason="key",
        status=401,
    )
    # A browser asks its user where Basic is offered, which pages can be opened with.
    offered = b"Bearer" if scope["path"].startswith(_API) else b'Basic realm="trimtab", charset="UTF-8"'
    await reply(send, 401, refusal.to_dict(), (b"www-authenticate", offered))


def record_of(scope: Any) -> Record:
    """What the log will say of a request."""
    record = scope.get(RECORD)
    return record if isinstance(record, Record) else Record(uuid.uuid4().hex)
