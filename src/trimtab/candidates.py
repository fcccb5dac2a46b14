"""How candidates of a search are scored, with a guard on quality.

The score of a candidate, between 0 and 1 for a useful one, is

    good - facts lost - 0.25 * |log perplexity outside the range|

- *good* is the share of responses that follow the instruction and are sound: not empty or next to it, brought to an
  end, not repeating themselves.
- *facts lost* is how far the share of true sentences falls below the baseline's, beyond a tolerance. A response that
  claims nothing, where both the baseline and the instructed one do, has none: `{}` is no good answer in JSON.
- Perplexity (of the response to the bare query, under the unsteered model) has a range in which it costs nothing:
  from a fraction of the lower to a multiple of the higher of what the baseline and the *instructed* model write.
  Following an instruction makes an answer less usual by itself, so the instructed model is the fair measure. Too
  low is as suspicious as too high: a loop is easy to predict.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.evaluate.conditions import Condition, Response, Row, judge
from trimtab.evaluate.quality import Quality
from trimtab.evaluate.statistics import mean
from trimtab.learn.directions import Application

if TYPE_CHECKING:
    from trimtab.instructions import Instruction

Choice = tuple[Application, int, float]
"""How a direction is applied, at which block, how strongly."""


@dataclass(frozen=True)
class Guard:
    """What counts as a broken response, and what quality may cost.

    Attributes:
        repetition: A response with a larger share of repeated word 4-grams is not sound, unless the instructed
            model's responses repeat as much.
        perplexity_low: The logarithm of perplexity may fall to this fraction of the lower of baseline and instructed.
        perplexity_high: Perplexity may rise to this multiple of the higher of the two.
        facts: The share of true sentences may fall by so much below the baseline's.
        shortness: A response with less than this share of the mean characters of the baseline's or the instructed
            model's responses, whichever are shorter, is not sound.
    """

    repetition: float = 0.3
    perplexity_low: float = 0.5
    perplexity_high: float = 1.5
    facts: float = 0.05
    shortness: float = 0.1


@dataclass(frozen=True)
class Candidate:
    """One way to apply a direction, and what it measured.

    Attributes:
        application: `add` or `set_projection`.
        block: Where.
        strength: How strongly.
        n: On how many queries it was tried: the first few, or all.
        followed: Share of responses that follow the instruction (strict check).
        good: Share that follow it and are sound.
        quality: Perplexity, repetition and facts of its responses.
        score: What candidates are compared by.
        objections: What the guard found, in words; empty for a candidate without fault.
    """

    application: Application
    block: int
    strength: float
    n: int
    followed: float
    good: float
    quality: Quality
    score: float
    objections: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The candidate as JSON."""
        values = dataclasses.asdict(self)
        values["quality"] = self.quality.to_dict()
        values["objections"] = list(self.objections)
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}


class Reference:
    """What candidates are measured against: the baseline and the instructed responses.

    Attributes:
        baseline: The baseline, judged.
        instructed: The instructed responses, judged.
        lowest: Below this perplexity a candidate loses score.
        highest: Above this one, too.
    """

    def __init__(
        self,
        instruction: Instruction,
        baseline: Sequence[Response],
        instructed: Sequence[Response],
        guard: Guard,
    ) -> None:
        self.instruction = instruction
        self.baseline = self._judge("baseline", baseline)
        self.instructed = self._judge("instructed", instructed)
        self.guard = guard
        known = [row.quality.perplexity for row in (self.baseline, self.instructed)]
        usual = [value for value in known if value is not None]
        self.lowest = min(usual) ** guard.perplexity_low if usual else 0.0
        self.highest = guard.perplexity_high * max(usual) if usual else math.inf
        self.repetition = max(
            guard.repetition, 1.2 * max(row.quality.repetition for row in (self.baseline, self.instructed))
        )
        self.shortest = guard.shortness * min(
            sum(len(response.text.strip()) for response in row.responses) / row.n
            for row in (self.baseline, self.instructed)
        )
        # A model that is cut off anyway (a small limit, a talkative model) cannot be asked to come to an end.
        self.must_finish = min(self.baseline.finished, self.instructed.finished) > 0.5

    def candidate(self, choice: Choice, responses: Sequence[Response]) -> Candidate:
        """Score a candidate by its responses to the first queries, or all."""
        row = self._judge("steered", responses)
        quality = row.quality
        good = sum(
            followed and not self._faults(response)
            for followed, response in zip(row.strict, responses, strict=True)
        ) / len(responses)
        faults = [fault for response in responses for fault in self._faults(response)]
        objections = [f"{faults.count(fault)} {fault}" for fault in dict.fromkeys(faults)]
        score = good
        facts, usual_facts = self._facts(responses), self._usual_facts(len(responses))
        if facts is not None and usual_facts is not None and facts < usual_facts - self.guard.facts:
            score -= usual_facts - self.guard.facts - facts
            objections.append(f"facts {facts:.2f} against {usual_facts:.2f}")
        if quality.perplexity is not None:
            bounded = min(max(quality.perplexity, self.lowest), self.highest)
            if bounded != quality.perplexity:
                score -= 0.25 * abs(math.log(quality.perplexity / bounded))
                objections.append(
                    f"perplexity {quality.perplexity:.3g} outside {self.lowest:.3g} to {self.highest:.3g}"
                )
        application, block, strength = choice
        return Candidate(
            application,
            block,
            strength,
            len(responses),
            row.followed,
            good,
            quality,
            score,
            tuple(objections),
        )

    def _faults(self, response: Response) -> list[str]:
        faults = []
        if not response.text.strip():
            faults.append("empty")
        elif len(response.text.strip()) < self.shortest:
            faults.append("next to empty")
        if not response.finished and self.must_finish:
            faults.append("without an end")
        if response.repetition > self.repetition:
            faults.append("repeating itself")
        return faults

    def _facts(self, responses: Sequence[Response]) -> float | None:
        """Share of true sentences; none are true where the response says nothing but the others do."""
        told = [
            0.0
            if response.facts is None and None not in (baseline.facts, instructed.facts)
            else response.facts
            for response, baseline, instructed in zip(
                responses, self.baseline.responses, self.instructed.responses, strict=False
            )
        ]
        return mean(told)

    def _usual_facts(self, count: int) -> float | None:
        """Facts of the baseline on the queries a candidate saw: always the first ones."""
        return mean(response.facts for response in self.baseline.responses[:count])

    def _judge(self, condition: Condition, responses: Sequence[Response]) -> Row:
        return judge(self.instruction, condition, None, responses)
