"""What steering costs on one model: seconds and memory of learning, speed of decoding, operations per block."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from trimtab import instructions, learn, nano, prompts
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import TrimtabError
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

KINDS = ("vector", "gated", "per row")
"""One added vector per block; one gated edit per block; the same with another steering in every row of the batch."""


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        batch_sizes: Rows that are decoded at once.
        new_tokens: Tokens per answer.
        repeats: How often each is measured; the first, which warms up, is left out.
        pairs: Prompt pairs, and lessons, to learn from.
        steps: Steps of the distillation, if it doesn't end earlier.
    """

    batch_sizes: tuple[int, ...] = (1, 32, 256)
    new_tokens: int = 128
    repeats: int = 5
    pairs: int = 64
    steps: int = 150


def measure(
    engine: TransformersEngine, plan: Plan, on_step: Callable[[str], None] = lambda what: None
) -> dict[str, Any]:
    """Everything about one model.

    Args:
        engine: The model.
        plan: How much.
        on_step: Told what begins.

    Returns:
        `parameters`, `operations` per block by kind, `learn` and `distill` (how many pairs and steps
        were `done`, seconds, peak bytes), and `decode`: for
        each batch size the tokens per second unsteered and the ratio of each kind of steering to that; a measurement
        that ran out of memory is None.
    """
    on_step("counting operations")
    counted = {kind: operations_per_block(engine, steering_of(engine, kind)) for kind in KINDS[:2]}
    on_step("learning")
    learned = _guarded(lambda: learning(engine, plan))
    on_step("distilling")
    distilled = _guarded(lambda: distilling(engine, plan))
    decoded = {}
    for rows in plan.batch_sizes:
        on_step(f"decoding, {rows} at once")
        decoded[str(rows)] = _guarded(lambda rows=rows: decoding(engine, rows, plan))  # type: ignore[misc]
    return {
        "model": engine.identity.id,
        "parameters": sum(weight.numel() for weight in engine.model.parameters()),
        "operations": counted,
        "learn": learned,
        "distill": distilled,
        "decode": decoded,
    }


def learning(engine: TransformersEngine, plan: Plan) -> dict[str, Any]:
    """How many pairs mean differences were learned from, seconds, and bytes at the peak."""
    return _timed(engine, lambda: _learn(engine, plan))


def distilling(engine: TransformersEngine, plan: Plan) -> dict[str, Any]:
    """How many steps a distillation took, seconds, and bytes at the peak."""
    return _timed(engine, lambda: _distill(engine, plan))


def decoding(engine: TransformersEngine, rows: int, plan: Plan) -> dict[str, Any]:
    """Tokens per second without steering, and the ratio of each kind of steering to it.

    Args:
        engine: The model.
        rows: Prompts that are answered at once.
        plan: How much.

    Returns:
        `unsteered` in tokens per second over all rows, `bytes` at the peak, and `ratio` by kind: the median over
        repeats of steered speed over the unsteered speed of the same repeat.
    """
    queries = _queries(rows)
    ways: dict[str, Any] = {"unsteered": None}
    for kind in KINDS if rows > 1 else KINDS[:2]:
        many = [steering_of(engine, kind, seed) for seed in range(rows if kind == "per row" else 1)]
        ways[kind] = many if len(many) == rows else many[0]
    seconds: dict[str, list[float]] = {kind: [] for kind in ways}
    _reset_memory(engine)
    for _ in range(plan.repeats + 1):
        for kind, steering in ways.items():
            start = _now(engine)
            answers = engine.generate(
                queries, steering=steering, max_new_tokens=plan.new_tokens, batch_size=rows
            )
            seconds[kind].append(_now(engine) - start)
            if any(len(answer.token_ids) != plan.new_tokens for answer in answers):
                raise TrimtabError("an answer ended early: the figures would not compare")
    unsteered = seconds.pop("unsteered")[1:]
    return {
        "unsteered": rows * plan.new_tokens / median(unsteered),
        "bytes": _peak_memory(engine),
        "ratio": {
            kind: median(bare / own for bare, own in zip(unsteered, values[1:], strict=True))
            for kind, values in seconds.items()
        },
    }


def steering_of(engine: TransformersEngine, kind: str, seed: int = 0) -> Steering:
    """One random edit in every block, too small to matter to the text.

    Args:
        engine: The model.
        kind: One of `KINDS`.
        seed: Which one.
    """
    random = torch.Generator().manual_seed(seed)
    edits = []
    for block in range(engine.identity.blocks):
        u, p = 1e-3 * torch.randn(2, engine.identity.width, generator=random)
        edits.append(Edit(block, u, 1.0, None if kind == "vector" else p))
    return Steering(f"random {seed}", tuple(edits), Record(engine.identity))


def operations_per_block(engine: TransformersEngine, steering: Steering) -> float:
    """How many more tensor operations a block runs for each token when it is steered; views are free and don't count.

    On a GPU each of them is about one kernel launch, and launches are what decoding a single row waits for.
    """
    ids = torch.ones(1, 1, dtype=torch.long, device=engine.device)

    def count(applied: Steering | None) -> int:
        with torch.no_grad(), engine.steered(applied):
            engine.model(input_ids=ids, use_cache=False)  # what is made at the first use is not counted
            operations = _Operations()
            with operations:
                engine.model(input_ids=ids, use_cache=False)
        return operations.count

    return (count(steering) - count(None)) / engine.identity.blocks


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that give a tensor, views left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        free = func.is_view or func is torch.ops.aten._unsafe_view.default
        self.count += isinstance(result, torch.Tensor) and not free
        return result


def _learn(engine: TransformersEngine, plan: Plan) -> int:
    instruction = instructions.get("lowercase")
    pairs = prompts.make_pairs(_queries(plan.pairs), instruction, "learning")
    return learn.mean_difference(engine, pairs, instruction).pairs


def _distill(engine: TransformersEngine, plan: Plan) -> int:
    """A whole distillation, one gated edit in every block, of an instruction that any text follows."""
    return len(
        learn.distill(
            engine,
            _queries(plan.pairs),
            instructions.get("exclude", word="zeppelin"),
            validation=nano.queries("validation", 8),
            blocks=range(engine.identity.blocks),
            rank=1,
            other=0.0,  # what else a prompt may ask for, random text does not follow
            schedule=learn.Schedule(steps=plan.steps),
            max_new_tokens=plan.new_tokens,
        ).history
    )


def _queries(count: int) -> list[str]:
    known = nano.queries("learning")
    return [known[number % len(known)] for number in range(count)]


def _timed(engine: TransformersEngine, run: Callable[[], int]) -> dict[str, Any]:
    _reset_memory(engine)
    start = _now(engine)
    done = run()
    return {"done": done, "seconds": _now(engine) - start, "bytes": _peak_memory(engine)}


def _guarded(run: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return run()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return None


def _now(engine: TransformersEngine) -> float:
    if engine.device.type == "cuda":
        torch.cuda.synchronize(engine.device)
    return time.perf_counter()


def _reset_memory(engine: TransformersEngine) -> None:
    if engine.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(engine.device)


def _peak_memory(engine: TransformersEngine) -> int | None:
    """Bytes at the peak, the weights included; only a GPU tells."""
    return torch.cuda.max_memory_allocated(engine.device) if engine.device.type == "cuda" else None
