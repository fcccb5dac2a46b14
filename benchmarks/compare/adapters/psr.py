"""PSR, the nearest prior work: a direction with a ReLU probe for each token, trained on the prompted model's answers.

G. Heyman, F. Vandeputte: Steer Like the LLM: Activation Steering that Mimics Prompting, ICML 2026 (arXiv 2605.03907).
At every block, h <- h + c max(0, <w, h> + b) z with z, w and b learned and a coefficient c for the whole, chosen on
validation prompts. It learns from answers of the prompted model that were judged to follow. Of the paper's variants
this is A-PSR (all blocks) by the likelihood of the answers (LL), the one that followed best on IFEval there.

Written from the paper's equations as its notes give them; its code was not at hand. Left out is its penalty on probes
that never open, since ours begin open (w = 0, b = 1), at the mean difference. Its judges are the instruction's check.
`psr-lessons` is the same form of edit under our training: lessons, blocks, and distributions besides answers.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.compare.shared import distilled
from benchmarks.compare.task import Candidate, Method, Task
from trimtab.steering.steering import Steering

STRENGTHS = (1.0, 0.5, 0.75, 1.25, 1.5)


def candidates(task: Task) -> Sequence[Candidate]:
    """As in the paper, under several coefficients."""
    blocks = range(task.engine.identity.blocks)
    steering = distilled(
        task, "psr", "told", bare=True, settings={"answer_weight": 1.0}, blocks=blocks, rank=1
    )
    return _candidates(steering)


def ours(task: Task) -> Sequence[Candidate]:
    """The form of edit under our training."""
    return _candidates(distilled(task, "psr"))


def _candidates(steering: Steering) -> list[Candidate]:
    return [Candidate({"strength": strength}, steering * strength) for strength in STRENGTHS]


METHODS = [
    Method("psr", "PSR (all blocks, likelihood)", candidates, "Heyman and Vandeputte, ICML 2026"),
    Method("psr-lessons", "PSR's edits under our training", ours, "after Heyman and Vandeputte, ICML 2026"),
]
