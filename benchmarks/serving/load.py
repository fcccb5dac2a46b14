"""`python -m benchmarks.serving.load`: thousands of requests, mistakes and hang-ups at one server, and no wrong answer.

One server of a model takes requests from many clients at once: plain and steered ones, streams, compositions, malformed
ones, clients that hang up halfway, while some steerings are unloaded and loaded again, and one name keeps changing what
it stands for. A second server, which caches nothing and is asked one request at a time, says what is right.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import httpx
import torch
import typer
from benchmarks.serving.server import Server, running
from rich.table import Table

import trimtab
from trimtab import nano
from trimtab.cli.output import JsonOption, Output, QuietOption
from trimtab.edits import Edit
from trimtab.engines.base import Engine
from trimtab.errors import TrimtabError
from trimtab.record import Record
from trimtab.steering import Steering

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HEADER = "x-trimtab-steering"
TOKENS = 20
FLICKERING = 5
"""So many steerings are unloaded and loaded again, over and over."""
CHANGING = "changing"
"""The name that keeps changing what it stands for."""
FLAT = 0.02
"""How much larger, as a share, the memory of the last fifth of the load may be than that of the third fifth."""


@dataclass(frozen=True)
class Ask:
    """One request.

    Attributes:
        kind: `valid`, `malformed`, `hang up`, `hang up streaming`.
        path: Where it goes.
        body: What is sent.
        stream: Whether the answer is a stream.
        status: What a malformed one is answered with.
        may_miss: Whether its steering may be unloaded at that moment, which is a 400.
    """

    kind: str
    path: str
    body: bytes
    stream: bool = False
    status: int = 200
    may_miss: bool = False

    @property
    def key(self) -> str:
        """Equal for requests with equal answers."""
        body = json.loads(self.body)
        body.pop("stream", None)
        return self.path + json.dumps(body, sort_keys=True)


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


# --- what is asked ---------------------------------------------------------------------------------------------------


def steerings_for(engine: Engine, count: int) -> dict[str, Steering]:
    """Random steerings that show in the answers: additions and gated edits, in one to three blocks, all scopes.

    Args:
        engine: The model they are for.
        count: How many.
    """
    chance, numbers = random.Random(0), torch.Generator().manual_seed(0)
    identity = engine.identity
    size = engine.capture(["How large is the residual stream?"], keep=True).activations.norm(dim=-1)[0]

    def edit(block: int) -> Edit:
        u, p = torch.nn.functional.normalize(torch.randn(2, identity.width, generator=numbers))
        much = 0.5 * float(size[block])
        scope = chance.choice(["all", "all", "prompt", "generated"])
        if chance.random() < 0.5:
            return Edit.add(block, u, much, scope)
        return Edit(block, u * much, alpha=0.5, p=p * (8 / float(size[block])), tokens=scope)

    found = {}
    for number in range(count):
        blocks = chance.sample(range(identity.blocks), chance.randint(1, min(3, identity.blocks)))
        found[f"s{number:03d}"] = Steering(f"s{number:03d}", tuple(map(edit, blocks)), Record(identity))
    return found


def asks(names: Sequence[str], width: int, count: int, seed: int = 0) -> list[Ask]:
    """A mix of requests, the same for the same arguments.

    Args:
        names: The steerings there are; the first `FLICKERING` of them may be gone at times.
        width: Of the model.
        count: How many requests: one in ten is malformed, one in fifteen hangs up.
        seed: Another gives others.
    """
    chance = random.Random(seed)
    questions = nano.queries("test", 24, seed=seed)
    wrong = itertools.cycle(_malformed(names[FLICKERING:], width))
    found = []
    for number in range(count):
        if number % 10 == 3:
            found.append(next(wrong))
            continue
        kind = {5: "hang up", 17: "hang up streaming"}.get(number % 24, "valid")
        stream = kind == "hang up streaming" or (kind == "valid" and chance.random() < 0.3)
        expression = _expression(names, chance)
        body: dict[str, Any] = {"model": "nano", "max_tokens": TOKENS, "temperature": 0}
        if kind != "valid":
            body["max_tokens"] = 200
        if expression and chance.random() < 0.5:
            body["model"] += f":{expression}"
        elif expression:
            body["vllm_xargs"] = {"steering": expression}
        if stream:
            body["stream"] = True
        path = CHAT if chance.random() < 0.7 else COMPLETIONS
        question = chance.choice(questions)
        if path == CHAT:
            body["messages"] = [{"role": "user", "content": question}]
        else:
            body["prompt"] = question
        risky = {*names[:FLICKERING]}
        may_miss = any(part.split("*")[0] in risky for part in expression.split("+"))
        found.append(Ask(kind, path, json.dumps(body).encode(), stream, may_miss=may_miss))
    return found


def _expression(names: Sequence[str], chance: random.Random) -> str:
    """What a request asks for: nothing, one, one with a strength, two, the flickering ones, the changing one."""
    draw = chance.random()
    if draw < 0.15:
        return ""
    if draw < 0.2:
        return CHANGING
    if draw < 0.35:
        return chance.choice(names[:FLICKERING])
    if draw < 0.75:
        return chance.choice(names) + chance.choice(["", "", "*0.5", "*-1"])
    return "+".join(chance.sample(names, 2))


def _malformed(names: Sequence[str], width: int) -> list[Ask]:
    def ask(status: int = 400, path: str = CHAT, **body: Any) -> Ask:
        whole = {"model": "nano", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4, **body}
        return Ask("malformed", path, json.dumps(whole).encode(), status=status)

    def own(**edit: Any) -> dict[str, Any]:
        return {"steering": json.dumps({"edits": [{"block": 0, "u": [0.1] * width, "alpha": 1, **edit}]})}

    gates = [{"block": 0, "u": [0.1] * width, "p": [0.01 * n] * width} for n in range(1, 20)]
    return [
        Ask("malformed", CHAT, b'{"model": "nano:s', status=400),
        Ask("malformed", CHAT, b"\xff\xfe\x00", status=400),
        ask(model="nano:no-such-steering"),
        ask(model=f"nano:{names[0]}**2"),
        ask(model="nano:"),
        ask(404, model="another"),
        ask(vllm_xargs={"steering": "{"}),
        ask(vllm_xargs={"steering": f"{names[0]}*1e300"}),
        ask(vllm_xargs={"steering": 7}),
        ask(vllm_xargs={"steering": "sha256:" + "0" * 64}),
        ask(vllm_xargs={"trimtab": "{}"}),
        ask(vllm_xargs=own(u=[0.1] * (width + 1))),
        ask(vllm_xargs=own(u=[float("nan")] * width)),
        ask(vllm_xargs=own(u=[1e39] * width)),
        ask(vllm_xargs=own(block=999)),
        ask(vllm_xargs={"steering": json.dumps({"edits": gates})}),
        ask(model=f"nano:{names[0]}", use_beam_search=True, n=2),
        ask(model=f"nano:{names[0]}", messages="no list"),
        ask(model=f"nano:{names[0]}", temperature=-1),
        ask(model=f"nano:{names[0]}", messages=[{"role": "user", "content": "long " * 2000}]),
    ]


# --- the load --------------------------------------------------------------------------------------------------------


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
            for name in itertools.cycle(known):
                for change in (
                    http.delete(f"/v1/steerings/{name}"),
                    _upload(http, name, known[name]),
                    _upload(http, CHANGING, others[chance.randrange(len(others))]),
                ):
                    answer = await change
                    _count(outcome, "loads and unloads", str(answer.status_code))
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
    files = {
        "document": (folder / "steering.json").read_bytes(),
        "tensors": (folder / "steering.safetensors").read_bytes(),
    }
    return await http.post("/v1/steerings", data={"name": name, "replace": "true"}, files=files)


# --- what is right ---------------------------------------------------------------------------------------------------


async def references(
    server: Server, asked: Sequence[Ask], digests: dict[str, str]
) -> dict[tuple[str, str | None], str]:
    """What a quiet server answers, one request after the other, by request and what it stands for.

    Args:
        server: A server that nobody else uses.
        asked: Valid requests.
        digests: What the changing name may stand for: the name there by digest.

    Returns:
        The answers by `Ask.key` and header; for requests with the changing name one for each of its meanings.
    """
    found: dict[tuple[str, str | None], str] = {}
    asked_already = set()
    async with httpx.AsyncClient(base_url=server.address, timeout=120) as http:
        for ask in asked:
            if ask.key in asked_already:
                continue
            asked_already.add(ask.key)
            bodies = [ask.body]
            if CHANGING.encode() in ask.body:
                bodies = [ask.body.replace(CHANGING.encode(), name.encode()) for name in digests.values()]
            for body in bodies:
                status, text, header = await send(http, Ask("valid", ask.path, body, ask.stream))
                if status != 200:
                    raise TrimtabError(f"the quiet server answers {status}: {text}")
                found[ask.key, header] = text
    return found


def memory_of(samples: Sequence[tuple[float, int]]) -> dict[str, float]:
    """What is told of the memory: in MiB at the start, and the medians of the third and the last fifth of the time.

    It is flat if the last fifth has at most `FLAT` more than the third: by then every path has run hundreds of times.
    """
    values = [number for _, number in samples]
    fifths = [values[len(values) * n // 5 : max(len(values) * (n + 1) // 5, 1)] for n in range(5)]
    third, last = (median(fifths[n] or values) / 2**20 for n in (2, 4))
    return {
        "start": values[0] / 2**20,
        "third fifth": third,
        "last fifth": last,
        "growth": last / third - 1,
        "flat": float(last / third - 1 <= FLAT),
    }


def measure(folder: Path, requests: int, steerings: int, clients: int, seed: int = 0) -> dict[str, Any]:
    """The whole test.

    Args:
        folder: For steerings and logs.
        requests: How many.
        steerings: How many there are to choose from.
        clients: Requests at once.
        seed: Of the mix.

    Returns:
        `requests`, `statuses` by kind, `compared`, `wrong` (each with what was asked, got and expected), `unexpected`,
        `seconds`, `memory`, `held` (steerings the workers hold at the end), `alive`.
    """
    engine = trimtab.load("nano", device="cpu")
    known = steerings_for(engine, steerings + 2)
    *names, first, second = known
    changing = [
        known[first].save(folder / "changing" / first),
        known[second].save(folder / "changing" / second),
    ]
    for name in names:
        known[name].save(folder / "served" / name)
    known[first].save(folder / "served" / CHANGING)
    asked = asks(names, engine.identity.width, requests, seed)
    valid = [ask for ask in asked if ask.kind == "valid"]
    options = [
        "--max-num-seqs",
        "32",
        "--max-num-batched-tokens",
        "256",
        "--max-model-len",
        "512",
        "--enforce-eager",
    ]
    started = ["--steerings", str(folder / "served"), "--gates", "8", "--upload"]
    with running("nano", folder / "busy.log", started, options) as server:
        flickering = {name: folder / "served" / name for name in names[:FLICKERING]}
        outcome = asyncio.run(play(server, asked, flickering, changing, clients))
        held, loaded = asyncio.run(_settled(server, steerings + 1))
        alive = server.alive
    for path in changing:
        known[path.name].save(folder / "served" / path.name)
    with running("nano", folder / "quiet.log", started, [*options, "--no-enable-prefix-caching"]) as server:
        digests = {known[name].digest(): name for name in (first, second)}
        right = asyncio.run(references(server, valid, digests))
    wrong = [
        {
            "asked": asked[number].body.decode(),
            "got": text,
            "expected": right.get((asked[number].key, header)),
        }
        for number, text, header in outcome.answers
        if right.get((asked[number].key, header)) != text
    ]
    return {
        "requests": len(asked),
        "steerings": steerings,
        "statuses": {kind: dict(counts) for kind, counts in sorted(outcome.statuses.items())},
        "compared": len(outcome.answers),
        "different answers": len({text for _, text, _ in outcome.answers}),
        "wrong": wrong,
        "unexpected": outcome.unexpected,
        "seconds": outcome.seconds,
        "memory": memory_of(outcome.memory),
        "held": held,
        "loaded": loaded,
        "alive": alive,
    }


async def _settled(server: Server, expected: int) -> tuple[float, float]:
    """How many steerings the workers hold, and how many can be named, once what was unloaded is forgotten."""
    body = json.dumps({"model": f"nano:{CHANGING}", "prompt": "Hello", "max_tokens": 1}).encode()
    held = loaded = -1.0
    async with httpx.AsyncClient(base_url=server.address, timeout=60) as http:
        for _ in range(30):
            # The workers are asked while there is steered traffic.
            await send(http, Ask("valid", COMPLETIONS, body))
            await asyncio.sleep(1)
            lines = (await http.get("/metrics")).text.splitlines()
            values = dict(line.rsplit(" ", 1) for line in lines if line.startswith("trimtab_steerings"))
            held, loaded = (
                float(values['trimtab_steerings_held{engine="0"}']),
                float(values["trimtab_steerings_loaded"]),
            )
            if held == loaded == expected:
                break
    return held, loaded


def passed(result: dict[str, Any]) -> list[str]:
    """What is not as it must be; nothing if all is well."""
    faults = []
    if result["wrong"]:
        faults.append(f"{len(result['wrong'])} wrong answers")
    if result["unexpected"]:
        faults.append(f"{len(result['unexpected'])} unexpected answers")
    if not result["alive"]:
        faults.append("the server ended")
    if result["held"] != result["loaded"]:
        faults.append(f"the workers hold {result['held']:.0f} steerings, {result['loaded']:.0f} are loaded")
    if not result["memory"]["flat"]:
        faults.append(f"the memory grew by {result['memory']['growth']:.1%}")
    return faults


def command(
    requests: Annotated[int, typer.Option(min=50, help="How many requests.")] = 2000,
    steerings: Annotated[int, typer.Option(min=10, help="How many steerings.")] = 100,
    clients: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 32,
    seed: Annotated[int, typer.Option(help="Of the mix of requests.")] = 0,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Load a server of nano with everything at once, and compare all answers with those of a quiet one."""
    output = Output(json, quiet)
    with tempfile.TemporaryDirectory(prefix="trimtab-load-") as folder:
        result = measure(Path(folder), requests, steerings, clients, seed)
    table = Table("what", "answers")
    for kind, counts in result["statuses"].items():
        table.add_row(kind, ", ".join(f"{count} x {status}" for status, count in sorted(counts.items())))
    output.print(table)
    memory = result["memory"]
    output.print(
        f"{result['requests']} requests over {result['steerings']} steerings in {result['seconds']:.0f} s; "
        f"{result['compared']} answers compared ({result['different answers']} different ones), "
        f"{len(result['wrong'])} wrong, {len(result['unexpected'])} unexpected"
    )
    output.print(
        f"memory: {memory['start']:.0f} MiB at the start, {memory['third fifth']:.0f} in the third fifth of the time, "
        f"{memory['last fifth']:.0f} in the last ({memory['growth']:+.2%}; flat is at most {FLAT:+.0%}); "
        f"steerings held at the end: {result['held']:.0f} of {result['loaded']:.0f} loaded"
    )
    output.result(result)
    for fault in (faults := passed(result)):
        output.note(f"problem: {fault}")
    if faults:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(command)
