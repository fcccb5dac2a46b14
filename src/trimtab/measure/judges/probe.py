"""A judge learned from a few examples of each side: a logistic regression on a model's activations.

    log-odds = w . mean(h of the response's tokens but the first) + b

where h is the output of one block of the unsteered model reading the response alone. Of the blocks at a quarter, half
and three quarters of the depth, the one is taken that says best which side an example is from when it is left out
(G. Alain, Y. Bengio: Understanding intermediate layers using linear classifier probes, 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from trimtab.engines import as_engine
from trimtab.errors import TrimtabError
from trimtab.measure.judges import logistic
from trimtab.measure.judges.base import Calibration, InstructionJudge
from trimtab.measure.texts import answers_in, text_means
from trimtab.progress import Progress, shown

if TYPE_CHECKING:
    from trimtab.engines import Model
    from trimtab.instructions import Question
    from trimtab.measure.judges.logistic import Logistic

FEWEST = 4
"""Contrast examples of each side that a probe is learned from, at least."""
_RIDGE = 1.0  # far more features than examples


class ProbeJudge(InstructionJudge):
    """A probe on a model's activations as a judge. What it was learned from is the question's contrast examples alone.

    Args:
        model: An engine, or a model of transformers and its tokenizer. Its activations are read unsteered.
        name: What stands beside every figure; None says of which model it is a probe.
    """

    def __init__(self, model: Model, *, name: str | None = None) -> None:
        self._engine = as_engine(model)
        self._probes: dict[Question, tuple[int, Logistic]] = {}
        super().__init__(f"probe on {self._engine.identity.id}" if name is None else name)

    def ask(
        self, question: Question, responses: Sequence[str], *, progress: Progress = False
    ) -> list[float | None]:
        """See `InstructionJudge.ask`.

        Raises:
            TrimtabError: There are too few contrast examples to learn from.
            PromptError: A response does not fit the model's context.
        """
        self.calibration(question, progress=progress)
        block, probe = self._probes[question]
        with shown(progress) as tell:
            read = text_means(
                self._engine, responses, [block], progress=tell, stage=f"judging by {self.name}"
            )
        return [float(one) for one in probe.odds(read[:, 0])]

    def _calibrate(self, question: Question, progress: Progress = False) -> Calibration:
        examples = [*question.follows, *question.fails]
        if min(len(question.follows), len(question.fails)) < FEWEST:
            raise TrimtabError(
                f"a probe learns from contrast examples, and {question.text!r} has {len(question.follows)} that follow "
                f"and {len(question.fails)} that fail; give at least {FEWEST} of each, or take a model as judge"
            )
        labels = torch.tensor([True] * len(question.follows) + [False] * len(question.fails))
        total = self._engine.identity.blocks
        blocks = sorted({min(total - 1, total * quarter // 4) for quarter in (1, 2, 3)})
        read = text_means(self._engine, answers_in(self._engine, examples), blocks, progress=progress)
        sides = labels.double() * 2 - 1
        tried = []
        for place, block in enumerate(blocks):
            odds = logistic.left_out(read[:, place], labels, _RIDGE)
            loss = float(torch.nn.functional.softplus(-sides * odds).mean())
            tried.append((loss, block, place, int(((odds > 0) == labels).sum()) / len(labels)))
        _, block, place, right = min(tried)
        self._probes[question] = (block, logistic.fit(read[:, place], labels, _RIDGE))
        return Calibration(right=right, examples=len(examples))
