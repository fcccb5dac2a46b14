"""The whole test: a busy server and a quiet one, and the judgement."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Any

import trimtab
from benchmarks.serving.load.mix import CHANGING, COMPLETIONS, FLICKERING, Ask, asks, steerings_for
from benchmarks.serving.load.play import play, send
from benchmarks.serving.load.right import references
from benchmarks.serving.server import Server, starting
from trimtab.progress import Tell, silent

FLAT = 0.02
"""How much larger, as a share, the memory of the last fifth of the load may be than that of the third fifth."""


def measure(
    folder: Path,
    requests: int,
    steerings: int,
    clients: int,
    seed: int = 0,
    tell: Tell = silent,
) -> dict[str, Any]:
    """The whole test.

    Args:
        folder: For steerings and logs.
        requests: How many.
        steerings: How many there are to choose from.
        clients: Requests at once.
        seed: Of the mix.
        tell: Told what begins.

    Returns:
        `requests`, `steerings`, `clients`, `statuses` by kind, `compared`, `different answers`, `wrong` (each with what
        was asked, got and expected), `unexpected`, `seconds`, `memory`, `held` (steerings the workers hold at the end),
        `loaded`, `alive`.

    Raises:
        TrimtabError: A server did not start, or the quiet one refused what is right.
    """
    engine = trimtab.load("nano", device="cpu")
    known = steerings_for(engine, steerings + 2)
    *names, first, second = known
    for name in names:
        known[name].save(folder / "busy" / name)
    known[first].save(folder / "busy" / CHANGING)
    for name in known:
        known[name].save(folder / "quiet" / name)
    flickering = {name: folder / "busy" / name for name in names[:FLICKERING]}
    changing = [folder / "quiet" / name for name in (first, second)]
    asked = asks(names, engine.identity.width, requests, seed)
    valid = [ask for ask in asked if ask.kind == "valid"]
    tell("starting two servers", 0)
    with _server(folder, "quiet", "--no-enable-prefix-caching") as quiet, _server(folder, "busy") as busy:
        busy.wait_until_ready()
        quiet.wait_until_ready()
        tell(f"{requests} requests by {clients} clients", 0)
        outcome = asyncio.run(play(busy, asked, flickering, changing, clients))
        held, loaded = asyncio.run(_settled(busy, steerings + 1))
        alive = busy.alive
        tell("the same, one after the other, at the server that is quiet", 0)
        digests = {known[name].digest(): name for name in (first, second)}
        right = asyncio.run(references(quiet, valid, digests))
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
        "clients": clients,
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


def _server(folder: Path, name: str, *options: str) -> AbstractContextManager[Server]:
    """A server that starts, with the steerings of a subfolder."""
    small = "--max-num-seqs 32 --max-num-batched-tokens 256 --max-model-len 512 --enforce-eager".split()
    arguments = ["--steerings", str(folder / name), "--gates", "8", "--upload"]
    return starting("nano", folder / f"{name}.log", arguments, [*small, *options])


async def _settled(server: Server, expected: int) -> tuple[float, float]:
    """How many steerings the workers hold, and how many can be named, once what was unloaded is forgotten."""
    import httpx  # it comes with vLLM

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
        "flat": last / third - 1 <= FLAT,
    }


def faults(result: dict[str, Any], *, memory: bool = True) -> list[str]:
    """What is not as it must be; nothing if all is well.

    Args:
        result: Of `measure`.
        memory: Whether memory is judged, which takes a load of thousands of requests.
    """
    found = []
    if result["wrong"]:
        found.append(f"{len(result['wrong'])} wrong answers")
    if result["unexpected"]:
        found.append(f"{len(result['unexpected'])} unexpected answers")
    if not result["alive"]:
        found.append("the server ended")
    if result["held"] != result["loaded"]:
        found.append(f"the workers hold {result['held']:.0f} steerings, {result['loaded']:.0f} are loaded")
    if memory and not result["memory"]["flat"]:
        found.append(f"the memory grew by {result['memory']['growth']:.1%}")
    return found
