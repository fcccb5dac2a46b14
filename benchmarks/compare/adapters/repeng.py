"""repeng: one unit vector per block from a PCA, added at several blocks at once (T. Vogel, after Zou et al. 2023).

Used as its README and notebooks do: `ControlVector.train` on formatted prompt pairs, `ControlModel.set_control` with a
coefficient. On offer, and chosen by the common rule:

- its two stable methods, `pca_diff` (its default, first) and `pca_center`;
- the pairs continued by the same beginnings of an answer on both sides, as in its notebooks, or as they are;
- the middle blocks (its README takes blocks 15 to 27 of 32), all it trains (all but the first), or one (of a deep model
  every third);
- coefficients that double, up to twice the size of the residual stream.

What has to be worked round with version 0.4.0:

- it asks for numpy below 2, and its import fails with 2: annotations name `numpy.float_`, which is gone there. The name
  is put back for the time of the import;
- the vector of the last block is read after the model's final norm (`hidden_states[-1]`) but added before it. It is
  left as it is: that is what its users get.
"""

from __future__ import annotations

import io
import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch

from benchmarks.compare.task import Candidate, Method, Task, depths
from trimtab.engines.chat import format_prompt
from trimtab.learn.distillation.training import scales_of
from trimtab.prompts.pairs import digest
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

BEGINNINGS = 4
"""Beginnings of answers per pair."""

ALONE = (1.0, 0.5, 0.25, 2.0)
TOGETHER = (0.25, 0.125, 0.5, 0.0625, 1.0)
"""Coefficients for one block, and for several, whose effects add up, as multiples of the norm of the residual stream in
the middle of the model, rounded to a power of two (256 of nano). The vectors have norm 1."""


def library() -> Any:
    """The package, whatever the version of numpy."""
    import numpy

    lacking = not hasattr(numpy, "float_")
    if lacking:
        numpy.float_ = numpy.float64  # type: ignore[attr-defined]
    try:
        import repeng  # type: ignore[import-untyped]
    finally:
        if lacking:
            del numpy.float_  # type: ignore[attr-defined]
    return repeng


def candidates(task: Task) -> Sequence[Candidate]:
    """Ways to train, blocks and coefficients."""
    repeng = library()
    model, tokenizer = task.engine.model, task.engine.tokenizer
    sets = block_sets(task.engine.identity.blocks)
    unit = norm(task)
    found = []
    for data, entries in _datasets(task).items():
        dataset = [repeng.DatasetEntry(positive, negative) for positive, negative in entries]
        for method in ("pca_diff", "pca_center"):
            with redirect_stderr(io.StringIO()):  # its progress bars
                vector = repeng.ControlVector.train(model, tokenizer, dataset, method=method)
            for name, blocks in sets.items():
                for share in ALONE if len(blocks) == 1 else TOGETHER:
                    coefficient = share * unit
                    settings = {
                        "method": method,
                        "data": data,
                        "blocks": name,
                        "coefficient": coefficient,
                    }
                    strength = task.sign * coefficient
                    found.append(
                        Candidate(
                            settings,
                            _edits(task, vector.directions, blocks, strength, settings),
                            control(repeng, model, vector, blocks, strength),
                        )
                    )
    return found


def norm(task: Task) -> float:
    """The norm of the residual stream in the middle block at the median token, rounded to a power of two."""
    scales = scales_of(task.engine, [pair.plain for pair in task.pairs])
    identity = task.engine.identity
    size = scales[identity.blocks // 2] * math.sqrt(identity.width)
    return float(2 ** round(math.log2(size)))


def block_sets(total: int) -> dict[str, list[int]]:
    """The middle blocks, all it trains, and some on their own."""
    trained = list(range(1, total))
    middle = [block for block in trained if 0.45 * total <= block < 0.875 * total]
    singles = {str(block): [block] for block in depths(trained)}
    return {"middle": middle or trained, "all": trained, **singles}


def _datasets(task: Task) -> dict[str, list[tuple[str, str]]]:
    """Formatted (with the instruction, without it): continued by beginnings of the model's own answers, and bare."""
    tokenizer = task.engine.tokenizer
    bare = [
        (format_prompt(tokenizer, pair.instructed), format_prompt(tokenizer, pair.plain))
        for pair in task.pairs
    ]
    answers = task.engine.generate(
        [pair.plain for pair in task.pairs],
        max_new_tokens=task.settings.max_new_tokens,
        batch_size=task.settings.batch_size,
    )
    rng = random.Random(task.settings.seed)
    begun = []
    for (positive, negative), answer in zip(bare, answers, strict=True):
        lengths = range(1, max(2, len(answer.token_ids)))
        for length in rng.sample(lengths, min(BEGINNINGS, len(lengths))):
            beginning = tokenizer.decode(list(answer.token_ids[:length]))
            begun.append((positive + beginning, negative + beginning))
    return {"pairs with beginnings": begun, "pairs": bare}


def _edits(
    task: Task, directions: Any, blocks: Sequence[int], strength: float, settings: dict[str, Any]
) -> Steering:
    """The same as edits: at each block, the vector times the coefficient, in the model's dtype as it takes it there."""
    dtype = task.engine.model.dtype
    edits = [
        Edit.add(block, (torch.from_numpy(directions[block]) * strength).to(dtype).float())
        for block in blocks
    ]
    record = Record(
        model=task.engine.identity,
        instructions=(task.instruction.to_dict(),),
        method="repeng",
        prompts=digest(task.pairs),
        settings=settings,
    )
    return Steering(task.instruction.label, tuple(edits), record)


def control(
    repeng: Any, model: Any, vector: Any, blocks: Sequence[int], strength: float
) -> Callable[[], Any]:
    """Makes a context in which its own code steers the model."""

    @contextmanager
    def native() -> Iterator[None]:
        wrapped = repeng.ControlModel(model, list(blocks))
        try:
            wrapped.set_control(vector, strength)
            yield
        finally:
            wrapped.unwrap()

    return native


METHODS = [
    Method(
        "repeng",
        "repeng (PCA control vectors)",
        candidates,
        "repeng, after Zou et al. 2023",
        ("repeng", "gguf"),
    )
]
