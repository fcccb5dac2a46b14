"""Distilled steering in three forms: gated edits (ours), and two simpler learned ones for comparison.

- `gated`: h <- h + (1 + <p, h>) u, u and p learned at each block;
- `vector`: p = 0, an added vector per block, learned in the same way (after Subramani et al., Extracting Latent
  Steering Vectors from Pretrained Language Models, 2022);
- `loreft`: h <- h + (<w, h> + b - <r, h>) r, one row of LoReFT (Wu et al., ReFT, 2024).

All three see the same pairs and steps, choose their blocks on the same validation questions, and get a short search of
strength by the same rule as every other method.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.compare.task import Candidate, Method, Task
from trimtab import learn
from trimtab.learn.distillation.trainable import Form

STRENGTHS = (1.0, 0.75, 1.5)


def candidates(form: Form, task: Task) -> Sequence[Candidate]:
    """What was distilled, as it is and a little weaker and stronger."""
    distilled = learn.distill(
        task.engine,
        task.queries("learning"),
        task.instruction,
        validation=task.queries("validation"),
        form=form,
        max_new_tokens=task.settings.max_new_tokens,
        seed=task.settings.seed,
    )
    blocks = list(distilled.steering.blocks)
    return [
        Candidate({"blocks": blocks, "strength": strength}, distilled.steering * strength)
        for strength in STRENGTHS
    ]


METHODS = [
    Method(
        "vector", "distilled vector, ungated", partial(candidates, "vector"), "after Subramani et al. 2022"
    ),
    Method("loreft", "distilled LoReFT row", partial(candidates, "loreft"), "after Wu et al. 2024"),
    Method(
        "trimtab",
        "trimtab: distilled gated edits",
        partial(candidates, "gated"),
        "trimtab.learn.distillation.distill",
    ),
]
