"""steering-vectors: the mean of the pairs' differences, added at one block or at several (after Rimsky et al. 2024).

Used as its documentation does: `train_steering_vector` on formatted prompt pairs, read at the last token, with its
default mean aggregator; `SteeringVector.apply` with a multiplier, at every token. On offer, and chosen by the common
rule: all blocks (its default, first), the middle ones, and single ones (of a deep model every third), with multipliers
from a tenth to sixteen.

Version 0.12.2 asks for transformers below 5, but what is used here works with 5.19; it is installed without its
dependencies' limits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from benchmarks.compare.task import Candidate, Method, Task, depths
from trimtab.engines.chat import format_prompt
from trimtab.prompts.pairs import digest
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

ALONE = (1.0, 0.5, 2.0, 4.0, 8.0, 16.0)
TOGETHER = (1.0, 0.5, 0.25, 0.1, 2.0)
"""Multipliers for one block, and for several, whose effects add up."""


def candidates(task: Task) -> Sequence[Candidate]:
    """Blocks and multipliers."""
    import steering_vectors  # type: ignore[import-untyped]

    model, tokenizer = task.engine.model, task.engine.tokenizer
    vector = steering_vectors.train_steering_vector(
        model,
        tokenizer,
        [
            (format_prompt(tokenizer, pair.instructed), format_prompt(tokenizer, pair.plain))
            for pair in task.pairs
        ],
        batch_size=16,
    )
    total = task.engine.identity.blocks
    every = list(range(total))
    middle = [block for block in every if 0.3 * total <= block < 0.8 * total]
    grid = [(name, blocks, m) for m in TOGETHER for name, blocks in (("all", every), ("middle", middle))]
    grid += [(str(block), [block], multiplier) for multiplier in ALONE for block in depths(every)]
    found = []
    for name, blocks, multiplier in grid:
        chosen = replace(
            vector, layer_activations={block: vector.layer_activations[block] for block in blocks}
        )
        settings = {"blocks": name, "multiplier": multiplier}
        strength = task.sign * multiplier
        found.append(
            Candidate(settings, _edits(task, chosen, strength, settings), applied(chosen, model, strength))
        )
    return found


def _edits(task: Task, vector: Any, strength: float, settings: dict[str, Any]) -> Steering:
    """The same as edits, their strength taken in the dtype of the vectors as it does."""
    record = Record(
        model=task.engine.identity,
        instructions=(task.instruction.to_dict(),),
        method="steering-vectors",
        prompts=digest(task.pairs),
        settings=settings,
    )
    edits = [Edit.add(block, (strength * one).float()) for block, one in vector.layer_activations.items()]
    return Steering(task.instruction.label, tuple(edits), record)


def applied(vector: Any, model: Any, strength: float) -> Callable[[], AbstractContextManager[Any]]:
    """Makes a context in which its own code steers the model."""
    return partial(vector.apply, model, multiplier=strength)


METHODS = [
    Method(
        "steering-vectors",
        "steering-vectors (mean difference)",
        candidates,
        "steering-vectors, after Rimsky et al. 2024",
        ("steering-vectors",),
    )
]
