"""Many clients at once, while steerings come and go: what every request was answered, and what memory it took."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.serving.load.mix import CHANGING, Ask
from benchmarks.serving.server import Server, form

if TYPE_CHECKING:
    import httpx

HEADER = "x-trimtab-steering"


@dataclass
class Outcome:
    """What came of the load.

    Attributes:
        answers: Of each valid request that was answered: its number, the answer, and what the header says.
        statuses: Of all others, by kind: which status came how often; `cut` for a client that hung up.
        unexpected: Requests that were answered as they must not be, with the answer.
        seconds: How long it took.
        memory: Bytes of the server, sampled: seconds since the start, and bytes.
    """

    answers: list[tuple[int, str, str | None]] = field(default_factory=list)
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    unexpected: list[str] = field(default_factory=list)
    seconds: float = 0.0
    memory: list[tuple[float, int]] = field(default_factory=list)


async def send(client: httpx.AsyncClient, ask: Ask) -> tuple[int, str, str | None]:
    """One request to its end: status, text of the answer with the reason why it ended, and the header."""
    kind = {"content-type": "application/json"}
    async with client.stream("POST", ask.path, content=ask.body, headers=kind) as answer:
        header = answer.headers.get(HEADER)
        content = (await answer.aread()).decode()
    if answer.status_code != 200:
        return answer.status_code, content, header
    parts = (
        [json.loads(line[6:]) for line in content.splitlines() if line.startswith("data: {")]
        if ask.stream
        else [json.loads(content)]
    )
    text, reason = "", None
    for part in parts:
        for choice in part["choices"]:
            said = choice.get("message") or choice.get("delta") or choice
            text += said.get("content") or said.get("text") or ""
            reason = choice.get("finish_reason") or reason
    return 200, f"{text}|{reason}", header


async def hang_up(client: httpx.AsyncClient, ask: Ask, chance: random.Random) -> str:
    """Begin a request and leave: after the first piece of a stream, or after a moment."""

    async def begin() -> str:
        kind = {"content-type": "application/json"}
        async with client.stream("POST", ask.path, content=ask.body, headers=kind) as answer:
            if answer.status_code != 200:
                return str(answer.status_code)
            async for _ in answer.aiter_bytes():
                return "cut"
        return "200"

    try:
        return await asyncio.wait_for(begin(), None if ask.stream else chance.uniform(0.0, 0.2))
    except TimeoutError:
        return "cut"


async def play(
    server: Server, asked: Sequence[Ask], known: dict[str, Path], others: Sequence[Path], clients: int
) -> Outcome:
    """Send everything, so many at once, while steerings come and go.

    Args:
        server: The server.
        asked: The requests.
        known: Folders of the flickering steerings, by name.
        others: Folders of what the changing name stands for, in turn.
        clients: Requests at once.
    """
    import httpx  # it comes with vLLM

    outcome = Outcome()
    begun, chance = time.monotonic(), random.Random(1)
    waiting = iter(enumerate(asked))
    limits = httpx.Limits(max_connections=clients + 4)
    async with httpx.AsyncClient(base_url=server.address, timeout=120, limits=limits) as http:

        async def one_client() -> None:
            for number, ask in waiting:
                if ask.kind.startswith("hang up"):
                    _count(outcome, ask.kind, await hang_up(http, ask, chance))
                    continue
                status, text, header = await send(http, ask)
                missed = status == 400 and ask.may_miss and "there is no steering" in text
                if ask.kind == "valid" and status == 200:
                    outcome.answers.append((number, text, header))
                elif status != ask.status and not missed:
                    outcome.unexpected.append(f"{status} for {ask.body[:200]!r}: {text[:200]}")
                _count(outcome, "valid, its steering gone" if missed else ask.kind, str(status))

        async def come_and_go() -> None:
            def tell(answer: httpx.Response) -> None:
                _count(outcome, "loads and unloads", str(answer.status_code))

            for name in itertools.cycle(known):
                tell(await http.delete(f"/v1/steerings/{name}"))
                await asyncio.sleep(0.05)
                tell(await _upload(http, name, known[name]))
                await asyncio.sleep(0.05)
                tell(await _upload(http, CHANGING, others[chance.randrange(len(others))]))
                await asyncio.sleep(0.05)

        async def watch() -> None:
            while True:
                outcome.memory.append((time.monotonic() - begun, await asyncio.to_thread(server.memory)))
                await asyncio.sleep(0.5)

        beside = [asyncio.create_task(come_and_go()), asyncio.create_task(watch())]
        await asyncio.gather(*(one_client() for _ in range(clients)))
        outcome.seconds = time.monotonic() - begun
        for task in beside:
            task.cancel()
        done = await asyncio.gather(*beside, return_exceptions=True)
        outcome.unexpected += [
            f"{error!r}" for error in done if not isinstance(error, asyncio.CancelledError)
        ]
        # One that was just unloaded may be missing now.
        for name, folder in known.items():
            (await _upload(http, name, folder)).raise_for_status()
    return outcome


def _count(outcome: Outcome, kind: str, status: str) -> None:
    outcome.statuses.setdefault(kind, Counter())[status] += 1


async def _upload(http: httpx.AsyncClient, name: str, folder: Path) -> httpx.Response:
    return await http.post("/v1/steerings", **form(name, folder))
