"""The embedded server under several clients: at once against one after the other, steered against unsteered."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import metadata
from statistics import median
from typing import Any

from benchmarks.serving.material import KINDS, edits_of
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import TrimtabError
from trimtab.progress import Tell, silent
from trimtab.steering.record import Record
from trimtab.steering.steering import Steering

TOPICS = (
    "a lighthouse|the sea|rain|bread|a bicycle|the moon|glass|an old clock|tea|a river|snow|paper|honey|a bridge|salt|"
    "the wind|a garden|iron|music|a map|wool|the desert|a violin|stone|apples|a market|fire|a boat|silk|chess|a forest|"
    "winter"
).split("|")
HEADER = ("clients", "tokens/s", "to one by one", "to unsteered", "from", "to", "CPU time")


@dataclass
class Way:
    """One way of asking, and what came of it.

    Attributes:
        title: What the table calls it.
        at_once: How many requests are under way at any time.
        kind: Of the steerings, of which each request has its own; None for unsteered requests.
        speeds: Tokens of answers a second, one for each round.
        cpu_speeds: The same by seconds of processor time of this process, clients and all: other work on the machine
            does not count in them.
    """

    title: str
    at_once: int
    kind: str | None = None
    speeds: list[float] = field(default_factory=list)
    cpu_speeds: list[float] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """The median."""
        return median(self.speeds)


def ways_of(clients: int) -> list[Way]:
    """What is compared: one client after the other, then all at once, unsteered and by both kinds of steering."""
    return [
        Way("one after the other, unsteered", 1),
        Way("at once, unsteered", clients),
        *(Way(f"at once, each under its own steering ({kind})", clients, kind) for kind in KINDS),
    ]


def measure(
    engine: TransformersEngine,
    clients: int,
    new_tokens: int,
    rounds: int,
    tell: Tell = silent,
) -> list[Way]:
    """Serves an engine, and asks it in every way in every round, the first of them in turn.

    Args:
        engine: What answers.
        clients: How many requests there are, each another question.
        new_tokens: The most tokens of an answer.
        rounds: How many count; a short one before warms up.
        tell: Told of every run before it begins.

    Raises:
        TrimtabError: An answer is not what was asked for.
    """
    ways = ways_of(clients)
    with _serving(engine, clients) as (app, address):
        names = {kind: _load(app, engine, kind, clients) for kind in KINDS}
        asyncio.run(_ask(address, [f"Tell me about {TOPICS[0]}."] * 2, ["model"] * 2, 2, 2))
        for number in range(rounds):
            first = number % len(ways)
            for place, way in enumerate([*ways[first:], *ways[:first]]):
                tell("serving", number * len(ways) + place, rounds * len(ways), way.title)
                questions = [f"Tell me about {TOPICS[one % len(TOPICS)]}." for one in range(clients)]
                models = (
                    ["model"] * clients if way.kind is None else [f"model:{one}" for one in names[way.kind]]
                )
                begun, cpu = time.perf_counter(), time.process_time()
                tokens = asyncio.run(_ask(address, questions, models, new_tokens, way.at_once))
                way.speeds.append(tokens / (time.perf_counter() - begun))
                way.cpu_speeds.append(tokens / (time.process_time() - cpu))
    return ways


def rows_of(ways: Sequence[Way], clients: int) -> list[list[str]]:
    """The table as text, its header first."""
    rows = [[f"{clients} clients", *HEADER[1:]]]
    one, plain = ways[0], ways[1]
    for way in ways:
        gain = f"{way.speed / one.speed:.2f}"
        ratios, cpu = _ratios(way.speeds, plain.speeds), median(_ratios(way.cpu_speeds, plain.cpu_speeds))
        of_plain = [f"{value:.3f}" for value in (median(ratios), min(ratios), max(ratios), cpu)]
        rows.append([way.title, f"{way.speed:.1f}", gain, *(of_plain if way.kind else "-" * 4)])
    return rows


def _ratios(speeds: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(speeds, others, strict=True)]


def caption(engine: TransformersEngine, new_tokens: int, rounds: int) -> str:
    """What is below the table."""
    identity = engine.identity
    dtype = str(engine.model.dtype).removeprefix("torch.")
    return (
        f"{identity.id}, {identity.blocks} blocks of width {identity.width}, {dtype}; answers of at most {new_tokens} "
        f"tokens, greedy; median of {rounds} rounds, and of the ratios in one round the median, the least and the "
        "most. CPU time: the median of the same ratio in processor time.\nA steering has one edit in every block.\n"
        f"torch {metadata.version('torch')}, {platform.machine()} with {os.cpu_count()} cores, "
        f"OMP_NUM_THREADS: {os.environ.get('OMP_NUM_THREADS', 'as many as torch takes')}"
    )


@contextmanager
def _serving(engine: TransformersEngine, clients: int) -> Iterator[tuple[Any, str]]:
    from trimtab.server.app import build_app
    from trimtab.server.embedded import Embedded
    from trimtab.server.limits import Limits
    from trimtab.server.starting import listening, server_of

    app = build_app(Embedded(engine, name="model", limits=Limits(rows=clients)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with listening("127.0.0.1", port) as at:
        server = server_of(app, level="WARNING")
        thread = threading.Thread(target=lambda: server.run(sockets=[at]))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.05)
        try:
            yield app, f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join()


def _load(app: Any, engine: TransformersEngine, kind: str, count: int) -> list[str]:
    embedded = app.state.embedded
    names = [f"{kind.split()[0]}-{number:03d}" for number in range(count)]
    for number, name in enumerate(names):
        steering = Steering(name, edits_of(kind, engine.identity, number), Record(engine.identity))
        entry = embedded.serving.apart().add(name, steering)
        asyncio.run_coroutine_threadsafe(embedded.serving.load(entry), embedded.runner.loop).result()
    return names


async def _ask(
    address: str, questions: Sequence[str], models: Sequence[str], new_tokens: int, at_once: int
) -> int:
    """How many tokens were written to all questions."""
    import openai

    places = asyncio.Semaphore(at_once)
    async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", timeout=3600) as client:

        async def one(question: str, model: str) -> int:
            async with places:
                done = await client.chat.completions.create(
                    model=model,
                    messages=[{"role": "user", "content": question}],
                    max_tokens=new_tokens,
                    temperature=0,
                )
            if done.usage is None or not done.usage.completion_tokens:
                raise TrimtabError("an answer is empty, so the runs cannot be compared")
            return done.usage.completion_tokens

        return sum(await asyncio.gather(*map(one, questions, models)))
