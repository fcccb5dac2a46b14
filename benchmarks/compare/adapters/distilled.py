"""Distilled steering in three forms: gated edits (ours), and two simpler learned ones for comparison.

- `gated`: h <- h + (1 + <p, h>) u, u and p learned at each block;
- `vector`: p = 0, an added vector per block, learned in the same way (after Subramani et al., Extracting Latent
  Steering Vectors from Pretrained Language Models, 2022);
- `loreft`: h <- h + (<w, h> + b - <r, h>) r, one row of LoReFT (Wu et al., ReFT, 2024).

All see the same lessons and steps, choose their blocks on the same validation questions, and get a short search of
strength by the same rule as every other method.

Ours stands there several times: with the teacher that `trimtab learn` chooses; with lessons by the told model; with
lessons under a constraint; held to the constraint while it answers; and told besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from benchmarks.compare.shared import distilled
from benchmarks.compare.task import Candidate, Method, Task
from trimtab.learn.distillation.teachers import Teacher
from trimtab.learn.distillation.trainable import Form

STRENGTHS = (1.0, 0.75, 1.5)


def candidates(form: Form, teacher: Teacher | None, task: Task) -> Sequence[Candidate]:
    """What was distilled, as it is and a little weaker and stronger."""
    steering = distilled(task, form, teacher)
    blocks = list(steering.blocks)
    settings = {"blocks": blocks, "teacher": steering.record.settings["teacher"]}
    return [Candidate({**settings, "strength": strength}, steering * strength) for strength in STRENGTHS]


def constrained(task: Task) -> Sequence[Candidate]:
    """Ours as it was learned, its answers held to the constraint."""
    task.constraint(task.queries("test")[0])  # refuse before anything is learned
    return [Candidate({}, distilled(task), constrained=True)]


def told(task: Task) -> Sequence[Candidate]:
    """Ours as it was learned, and the instruction in the prompt."""
    return [Candidate({}, distilled(task), prompt=task.told)]


METHODS = [
    Method(
        "vector",
        "distilled vector, ungated",
        partial(candidates, "vector", None),
        "after Subramani et al. 2022",
    ),
    Method("loreft", "distilled LoReFT row", partial(candidates, "loreft", None), "after Wu et al. 2024"),
    Method(
        "trimtab",
        "trimtab: distilled gated edits",
        partial(candidates, "gated", None),
        "trimtab.learn.distillation.distill",
    ),
    Method(
        "trimtab-told",
        "trimtab, lessons by the told model",
        partial(candidates, "gated", "told"),
        "trimtab.learn.distillation.distill",
    ),
    Method(
        "trimtab-constrained",
        "trimtab, lessons under a constraint",
        partial(candidates, "gated", "constrained"),
        "trimtab.learn.distillation.distill",
        ("llguidance",),
    ),
    Method(
        "trimtab+instruction",
        "trimtab and the instruction",
        told,
        "trimtab.learn.distillation.distill",
        condition="instructed+steered",
        chosen=False,
    ),
    Method(
        "trimtab+constraint",
        "trimtab and constrained decoding",
        constrained,
        "trimtab.learn.distillation.distill",
        ("llguidance",),
        condition="steered+constrained",
        chosen=False,
    ),
]
