"""How fast the transformers engine writes on a CPU, in one run, one way after the other in each round.

    python benchmarks/decoding.py [--model smollm2] [--dtype bfloat16] [--rows 64] [--tokens 96]

- `before`: attention as transformers asks torch for it, keys and values copied for each query head;
- `stretches`: `generate` of transformers, 16 tokens at a time, where rows that have ended keep their place until then;
- `free`: `engine.generate` as it is: rows leave the running batch at the token at which they end;
- `held`: the same, with every row held to the constraint of `lowercase`.

Speed is useful tokens per second: those of answers, end tokens included. Ratios are medians over the rounds, of what
was measured next to each other. In float32 `before`, `stretches` and `free` write the same tokens, which is checked.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import Annotated, Any
from unittest import mock

import torch
import typer

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a script, its neighbours are not on the path

import trimtab
from benchmarks.running import run
from trimtab import instructions, prompts
from trimtab.engines.continuous import forward
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError

_LOWERCASE = instructions.get("lowercase").constraint()
Ways = dict[str, tuple[Callable[[], AbstractContextManager[Any]], dict[str, Any]]]
WAYS: Ways = {
    "before": (lambda: mock.patch.object(forward, "quick_attention", return_value=nullcontext()), {}),
    "stretches": (lambda: mock.patch.object(TransformersEngine, "_joins_rows", return_value=False), {}),
    "free": (nullcontext, {}),
    "held": (nullcontext, {"constraints": _LOWERCASE}),
}


def chosen(names: str) -> Ways:
    """The ways of these names, with commas between.

    Raises:
        ModelError: One is unknown, or `free` is not among them.
    """
    wanted = names.split(",")
    if "free" not in wanted or not set(wanted) <= set(WAYS):
        raise ModelError(f"the ways are some of {', '.join(WAYS)}, with 'free' among them, not {names!r}")
    return {way: WAYS[way] for way in wanted}


def measure(
    engine: TransformersEngine, asked: list[str], tokens: int, rounds: int, ways: Ways | None = None
) -> dict[str, Any]:
    """Useful tokens per second of each way, as medians, and the ratios of `free` to those before, and `held` to `free`.

    Raises:
        ModelError: In float32, two ways that shall write the same tokens do not.
    """
    engine.generate(asked, max_new_tokens=2, constraints=_LOWERCASE)
    ways = WAYS if ways is None else ways
    speeds: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        written = {}
        for way, (changed, options) in ways.items():
            with changed():
                begin = time.perf_counter()
                answers = engine.generate(asked, max_new_tokens=tokens, batch_size=len(asked), **options)
                seconds = time.perf_counter() - begin
            speeds[way].append(sum(len(one.token_ids) + one.finished for one in answers) / seconds)
            written[way] = [one.token_ids for one in answers]
        same = all(written[way] == written["free"] for way in ways if way != "held")
        if engine.model.dtype == torch.float32 and not same:
            raise ModelError("the quick attention or the running batch writes other tokens than transformers")
    ratios = {
        f"{one}_to_{other}": median(a / b for a, b in zip(speeds[one], speeds[other], strict=True))
        for one, other in (("free", "before"), ("free", "stretches"), ("held", "free"))
        if one in ways and other in ways
    }
    return {"tokens_per_second": {way: median(found) for way, found in speeds.items()}, **ratios}


def main(
    model: Annotated[str, typer.Option(help="What writes.")] = "smollm2",
    dtype: Annotated[str, typer.Option(help="Of the weights.")] = "bfloat16",
    rows: Annotated[int, typer.Option(min=1, help="Answers written at once.")] = 64,
    tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 96,
    ways: Annotated[str, typer.Option(help="Which ways, `free` among them, with commas between.")] = ",".join(
        WAYS
    ),
    rounds: Annotated[int, typer.Option(min=1, help="How often each way is measured.")] = 3,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here too.")] = None,
) -> None:
    """Measure and print."""
    engine = trimtab.load(model, device="cpu", dtype=dtype)
    asked = prompts.default_queries(engine.identity, "learning", rows, 0)
    found = measure(engine, list(asked), tokens, rounds, chosen(ways))
    print(f"{engine.identity.id}, {dtype}, {rows} rows, {tokens} tokens, {torch.get_num_threads()} threads")
    for way, speed in found["tokens_per_second"].items():
        print(f"  {way:9} {speed:7.1f} tokens/s")
    ratios = [f"{name.replace('_to_', ' / ')} {found[name]:.2f}" for name in found if "_to_" in name]
    print(f"  {', '.join(ratios)}")
    if json_file is not None:
        json_file.write_text(json.dumps(found))


if __name__ == "__main__":
    sys.exit(run(main, "benchmarks/decoding.py"))
