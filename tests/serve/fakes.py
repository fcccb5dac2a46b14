"""A server without a model: a library for a small one, workers that only hold, and an ASGI app at the end."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from trimtab import Edit, Steering
from trimtab._version import __version__
from trimtab.serve.backend import Interface
from trimtab.serve.library import Entry, SteeringLibrary
from trimtab.serve.serving import Serving
from trimtab.steering.record import ModelIdentity, Record

IDENTITY = ModelIdentity("tiny", None, "llama", 3, 8, "plain")


def steering(seed: int = 0, gated: int = 1, identity: ModelIdentity = IDENTITY) -> Steering:
    """One addition and some gated edits, different for every seed."""
    generator = torch.Generator().manual_seed(seed)

    def vector() -> torch.Tensor:
        return torch.randn(identity.width, generator=generator)

    edits = [Edit.add(0, vector(), 1.0), *(Edit(1, vector(), alpha=0.5, p=vector()) for _ in range(gated))]
    return Steering(f"s{seed}", tuple(edits), Record(identity, method="manual"))


def library(**steerings: Steering) -> SteeringLibrary:
    """A library that holds these."""
    made = SteeringLibrary(IDENTITY, gates=2, limit=8)
    for name, one in steerings.items():
        made.add(name, one)
    return made


class Metrics:
    """Counts as the real ones do, in plain sight."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.steerings = -1
        self.steered = 0

    def steers(self) -> None:
        self.steered += 1

    def request(self, outcome: str) -> None:
        self.counts[outcome] += 1

    def refused(self, reason: str) -> None:
        self.counts[reason] += 1

    def loaded(self, number: int) -> None:
        self.steerings = number

    async def watch(self, tables: Callable[[], Awaitable[Any]], seconds: float = 0.01) -> None:
        await asyncio.Event().wait()


@dataclass
class Worker:
    """Holds digests; what it was asked stays in `calls`."""

    version: str = __version__
    held: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    fails: bool = False

    def hold(self, digest: str, edits: Sequence[Edit]) -> None:
        if self.fails:
            raise RuntimeError("no memory")
        self.calls.append(("hold", digest))
        self.held[digest] = tuple(edits)

    def forget(self, digest: str) -> None:
        if self.fails:
            raise RuntimeError("no answer")
        self.calls.append(("forget", digest))
        self.held.pop(digest, None)

    def status(self) -> dict[str, Any]:
        statistics = {
            "slots": 4,
            "in_use": 0,
            "resident": 0,
            "evictions": 0,
            "held": len(self.held),
            "writes": 0,
        }
        return {
            "version": self.version,
            "blocks": [0, 1, 2],
            "statistics": statistics,
            "held": sorted(self.held),
        }


INTERFACE = Interface(
    generating=frozenset({"/v1/chat/completions", "/v1/completions", "/v1/messages", "/generate"}),
    naming=frozenset({"/tokenize"}),
    instead={"/embed": "ask elsewhere"},
)


@dataclass
class Engines:
    """A server of two engines of two workers, as with data and tensor parallelism."""

    workers: list[list[Worker]] = field(default_factory=lambda: [[Worker(), Worker()], [Worker(), Worker()]])
    requests: list[str] = field(default_factory=list)
    watch: Callable[[str], None] = lambda method: None
    interface: Interface = INTERFACE
    name: str = "tiny"

    @property
    def all(self) -> list[Worker]:
        return [worker for engine in self.workers for worker in engine]

    def served(self) -> Collection[str]:
        return ["tiny", "tiny:v2"]

    def running(self) -> Collection[str]:
        return self.requests

    async def models(self) -> dict[str, Any]:
        card = {"id": "tiny", "object": "model", "root": "/weights", "parent": None}
        return {"object": "list", "data": [card]}

    async def hold(self, digest: str, edits: Sequence[Edit]) -> None:
        await self.call("hold", digest, edits)

    async def forget(self, digest: str) -> None:
        await self.call("forget", digest)

    async def statuses(self) -> Sequence[Sequence[Any]]:
        return await self.call("status")

    async def call(self, method: str, *arguments: Any) -> Sequence[Sequence[Any]]:
        self.watch(method)
        await asyncio.sleep(0)
        return [[getattr(worker, method)(*arguments) for worker in engine] for engine in self.workers]


def serving(made: SteeringLibrary, engines: Engines | None = None, **options: Any) -> Serving:
    """What the middleware and the routes work with."""
    options = {"metrics": Metrics(), "may_change": True, **options}
    return Serving(made, engines or Engines(), **options)


def apart(server: Serving, name: str, one: Steering) -> Entry:
    """A steering that has been judged, and cannot be named yet."""
    return server.apart().add(name, one)


@dataclass
class Answer:
    """What an app said."""

    messages: list[dict[str, Any]]

    @property
    def status(self) -> int:
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[str, str]:
        return {key.decode(): value.decode() for key, value in self.messages[0]["headers"]}

    @property
    def json(self) -> Any:
        return json.loads(b"".join(message.get("body", b"") for message in self.messages[1:]))


class Echo:
    """The end of the chain: remembers what it got, and answers in two parts."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.scopes: list[Any] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "http":
            message = await receive()
            body = message["body"]
            while message.get("more_body", False):
                message = await receive()
                assert message["type"] == "http.request"
                body += message["body"]
            self.bodies.append(body)
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": self.status, "headers": headers})
            await send({"type": "http.response.body", "body": b"one ", "more_body": True})
            await send({"type": "http.response.body", "body": b"two"})

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.scopes[-1]["headers"])


def scope(
    path: str, server: Serving | None, *, method: str = "POST", headers: Iterable[tuple[bytes, bytes]] = ()
) -> dict[str, Any]:
    """A connection to a server that keeps `server` as its state."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "headers": [(b"content-type", b"application/json"), *headers],
        "app": SimpleNamespace(state=SimpleNamespace(trimtab=server)),
    }


async def exchange(app: Any, connection: dict[str, Any], *parts: bytes, hang_up: bool = False) -> Answer:
    """Send the parts of a body and collect the answer.

    Args:
        hang_up: Leave before the body is complete.
    """
    incoming = [
        {"type": "http.request", "body": part, "more_body": hang_up or number < len(parts) - 1}
        for number, part in enumerate(parts)
    ]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(connection, receive, send)
    return Answer(sent)
