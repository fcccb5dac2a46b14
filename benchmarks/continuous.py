"""What continuous batching gives on a CPU, in one run, one way after the other in each round.

    python benchmarks/continuous.py [--model smollm2] [--dtype bfloat16] [--clients 32] [--requests 96]

- `alone`: requests are answered one after the other;
- `together`: as many clients as `--clients`, each with its next request as soon as its last is answered;
- `steered`: the same, each request with a gated edit in every block, one of eight steerings.

A request has a length of its own, that of the model's own answer, in all ways, so that all write the same number of
tokens. Speed is tokens per second. Ratios are medians over the rounds, of what was measured next to each other.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import torch
import typer

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, its neighbours are not on the path

import trimtab
from benchmarks.measuring import steering_of
from benchmarks.running import run
from trimtab import prompts
from trimtab.engines.continuous import Ask, RunningBatch
from trimtab.engines.transformers import TransformersEngine
from trimtab.steering.edits import Edit

STEERINGS = 8


def measure(
    engine: TransformersEngine, queries: Sequence[str], clients: int, tokens: int, rounds: int, alone: int
) -> dict[str, Any]:
    """Tokens per second of each way, as medians, and the ratios `together` to `alone` and `steered` to `together`.

    Args:
        engine: The model.
        queries: What is asked.
        clients: How many at once.
        tokens: The longest answer.
        rounds: How often each way is measured.
        alone: How many of the requests are answered one after the other.
    """
    lengths = [max(1, len(one.token_ids)) for one in engine.generate(list(queries), max_new_tokens=tokens)]
    texts = engine.encoding.prompts(list(queries), tokens)
    requests = list(zip(texts, lengths, strict=True))
    steerings = [steering_of(engine, "gated", seed).edits for seed in range(STEERINGS)]
    ways: dict[str, tuple[int, int, Sequence[Sequence[Edit]]]] = {
        "alone": (1, alone, [()]),
        "together": (clients, len(requests), [()]),
        "steered": (clients, len(requests), steerings),
    }
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, (places, count, edits) in ways.items():
            speeds[way].append(speed(engine, requests[:count], places, edits))
    return {
        "tokens": sum(lengths),
        "tokens_per_second": {way: median(found) for way, found in speeds.items()},
        "together_to_alone": _ratio(speeds["together"], speeds["alone"]),
        "steered_to_together": _ratio(speeds["steered"], speeds["together"]),
    }


def speed(
    engine: TransformersEngine,
    requests: Sequence[tuple[Sequence[int], int]],
    clients: int,
    edits: Sequence[Sequence[Edit]],
) -> float:
    """Tokens per second that clients get together.

    Args:
        engine: The model.
        requests: Prompts as tokens, each with the length of its answer.
        clients: How many ask at once.
        edits: What steers the requests, in turn.
    """
    batch = RunningBatch(engine, max_rows=clients)
    waiting = [
        Ask(prompt, edits[number % len(edits)], max_new_tokens=length, ends=())
        for number, (prompt, length) in enumerate(requests)
    ][::-1]
    begin = time.perf_counter()
    for _ in range(min(clients, len(waiting))):
        batch.submit(waiting.pop())
    while not batch.is_idle:
        for event in batch.step():
            if event.error is not None:
                raise event.error
            if event.ended is not None and waiting:
                batch.submit(waiting.pop())
    return sum(length for _, length in requests) / (time.perf_counter() - begin)


def main(
    model: Annotated[str, typer.Option(help="What writes.")] = "smollm2",
    dtype: Annotated[str, typer.Option(help="Of the weights.")] = "bfloat16",
    clients: Annotated[int, typer.Option(min=1, help="How many ask at once.")] = 32,
    requests: Annotated[int, typer.Option(min=1, help="What they ask together.")] = 96,
    tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 96,
    alone: Annotated[int, typer.Option(min=1, help="How many are answered one after the other.")] = 8,
    rounds: Annotated[int, typer.Option(min=1, help="How often each way is measured.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here too.")] = None,
) -> None:
    """Measure and print."""
    engine = trimtab.load(model, device="cpu", dtype=dtype)
    queries = prompts.default_queries(engine.identity, "learning", requests, 0)
    found = measure(engine, list(queries), clients, tokens, rounds, min(alone, requests))
    print(
        f"{engine.identity.id}, {dtype}, {clients} clients, {requests} requests of {found['tokens']} tokens, "
        f"{torch.get_num_threads()} threads"
    )
    for way, own in found["tokens_per_second"].items():
        print(f"  {way:8} {own:7.1f} tokens/s")
    print(
        f"  together / alone {found['together_to_alone']:.2f}, "
        f"steered / together {found['steered_to_together']:.2f}"
    )
    if json_file is not None:
        json_file.write_text(json.dumps(found))


def _ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    return median(one / other for one, other in zip(ones, others, strict=True))


if __name__ == "__main__":
    sys.exit(run(main, "benchmarks/continuous.py"))
