"""How candidates of a search are scored, with a guard on quality.

The score of a candidate, between 0 and 1 for a useful one, is

    good - facts lost - 0.25 * |log perplexity outside the range|

- *good* is the share of responses that follow the instruction and are sound: not empty or next to it, brought to an
  end, of a length one would expect, not repeating themselves, not odder than anything the model writes by itself.
- *facts lost* is how far the share of true sentences falls below the baseline's, beyond a tolerance. A response that
  claims nothing, where both the baseline and the instructed one do, has none: `{}` is no good answer in JSON.
- Perplexity (of the response to the bare query, under the unsteered model) has a range in which it costs nothing:
  from a fraction of the lower to a multiple of the higher of what the baseline and the *instructed* model write.
  Following an instruction makes an answer less usual by itself, so the instructed model is the fair measure. Too
  low is as suspicious as too high: a loop is easy to predict.

A candidate that fails badly in any of these is *rejected*: it never wins, whatever its score.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from trimtab.learn.directions import Application
from trimtab.measure.quality import Quality
from trimtab.measure.responses import Response
from trimtab.measure.rows import Row, judge
from trimtab.measure.statistics import mean

if TYPE_CHECKING:
    from trimtab.instructions import Instruction

Choice = tuple[Application, int, float]
"""How a direction is applied, at which block, how strongly."""

_LETTERS = 12


@dataclass(frozen=True)
class Guard:
    """What counts as a broken response, what quality may cost, and from where on a candidate is rejected.

    Attributes:
        repetition: A response with a larger share of repeated word 4-grams, or of repeated runs of 12 characters, is
            not sound, unless the baseline's or the instructed model's responses repeat as much.
        perplexity_low: The logarithm of perplexity may fall to this fraction of the lower of baseline and instructed.
        perplexity_high: Perplexity may rise to this multiple of the higher of the two.
        facts: The share of true sentences may fall by so much below the baseline's.
        shortness: A response with less than this share of the mean characters of the baseline's or the instructed
            model's responses, whichever are shorter, is not sound.
        length: Nor is one with more than this multiple of the longest of them.
        unsound: A candidate is rejected if the share of its responses that are not sound is above that of the
            baseline or the instructed model by more than this.
        oddness: It is rejected if its perplexity leaves the range by more than this factor (below: if the logarithm
            of its perplexity does). A single response odder by this factor than any of theirs is not sound.
        facts_lost: It is rejected if it loses more than this share of facts beyond the tolerance.
    """

    repetition: float = 0.3
    perplexity_low: float = 0.5
    perplexity_high: float = 1.5
    facts: float = 0.05
    shortness: float = 0.1
    length: float = 4.0
    unsound: float = 0.25
    oddness: float = 3.0
    facts_lost: float = 0.3


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What some way of steering (or none) measured on validation queries.

    Attributes:
        n: On how many queries it was tried: the first few, or all.
        followed: Share of responses that follow the instruction (strict check).
        loose: The same by the loose check.
        good: Share that follow it and are sound.
        quality: Perplexity, repetition and facts of its responses.
        score: What candidates are compared by.
        objections: What the guard found, in words; empty for a candidate without fault.
        rejected: Whether its responses are so degenerate that it must not win.
    """

    n: int
    followed: float
    loose: float
    good: float
    quality: Quality
    score: float
    objections: tuple[str, ...] = ()
    rejected: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The measurements as JSON."""
        values = dataclasses.asdict(self)
        values["quality"] = self.quality.to_dict()
        values["objections"] = list(self.objections)
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}


@dataclass(frozen=True, kw_only=True)
class Candidate(Measured):
    """One way to apply a direction, and what it measured.

    Attributes:
        application: `add` or `set_projection`.
        block: Where.
        strength: How strongly: 1 is the instruction's own effect.
        weight: The same in units of the residual stream: the length that is added, or the projection that is set.
    """

    application: Application
    block: int
    strength: float
    weight: float


@dataclass(frozen=True, kw_only=True)
class Scaled(Measured):
    """A finished steering at one strength, and what it measured.

    Attributes:
        strength: The factor on all of its edits.
    """

    strength: float


class Scorer(Protocol):
    """A rule by which candidates are compared: `Reference`, or `trimtab.tune.paper.PaperScorer`."""

    baseline: Row
    instructed: Row

    def measure(self, responses: Sequence[Response]) -> Measured:
        """Scores the responses to the first queries, or to all."""

    def unsteered(self, count: int) -> Measured:
        """The same for steering nothing, on the first `count` queries."""


class Reference:
    """What candidates are measured against: the baseline and the instructed responses.

    Args:
        instruction: What is to be followed.
        baseline: Responses to the bare queries, without steering.
        instructed: Responses to the same queries with the instruction in the prompt.
        guard: What quality may cost.

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
        self.baseline = judge(instruction, "baseline", None, baseline)
        self.instructed = judge(instruction, "instructed", None, instructed)
        self.guard = guard
        rows = (self.baseline, self.instructed)
        known = [row.quality.perplexity for row in rows]
        usual = [value for value in known if value is not None]
        self.lowest = min(usual) ** guard.perplexity_low if usual else 0.0
        self.highest = guard.perplexity_high * max(usual) if usual else math.inf
        both = [*baseline, *instructed]
        surprises = [response.nll for response in both if response.nll is not None]
        self._oddest = max(surprises, default=math.inf) + math.log(guard.oddness)
        self._repetition = max(guard.repetition, 1.2 * max(row.quality.repetition for row in rows))
        self._looping = max(guard.repetition, 1.2 * max(repeated_letters(response.text) for response in both))
        lengths = [len(response.text.strip()) for response in both]
        count = len(baseline)
        self._shortest = guard.shortness * min(sum(lengths[:count]), sum(lengths[count:])) / count
        self._longest = guard.length * max(lengths)
        # A model that is cut off anyway (a small limit, a talkative model) cannot be asked to come to an end.
        self._must_finish = min(row.finished for row in rows) > 0.5
        self._unsound = guard.unsound + max(self._unsound_share(row.responses) for row in rows)

    def measure(self, responses: Sequence[Response]) -> Measured:
        """Score a candidate by its responses to the first queries, or all."""
        row = judge(self.instruction, "steered", None, responses)
        faults = [self._faults(response) for response in responses]
        good = sum(strict and not found for strict, found in zip(row.strict, faults, strict=True))
        words = [fault for found in faults for fault in found]
        objections = [f"{words.count(fault)} {fault}" for fault in dict.fromkeys(words)]
        rejected = self._unsound_share(responses) > self._unsound
        lost, told = self._facts_lost(responses)
        if lost > 0:
            objections.append(told)
            rejected |= lost > self.guard.facts_lost
        perplexity = row.quality.perplexity
        odd = 0.0
        if perplexity is not None and not self.lowest <= perplexity <= self.highest:
            odd = abs(math.log(perplexity / min(max(perplexity, self.lowest), self.highest)))
            objections.append(f"perplexity {perplexity:.3g} outside {self.lowest:.3g} to {self.highest:.3g}")
            rejected |= (
                perplexity > self.highest * self.guard.oddness
                or math.log(perplexity) < math.log(self.lowest) / self.guard.oddness
            )
        return Measured(
            n=len(responses),
            followed=row.followed,
            loose=row.followed_loose,
            good=good / len(responses),
            quality=row.quality,
            score=good / len(responses) - lost - 0.25 * odd,
            objections=tuple(objections),
            rejected=rejected,
        )

    def unsteered(self, count: int) -> Measured:
        """The score of steering nothing, on the first `count` queries."""
        return self.measure(self.baseline.responses[:count])

    def _faults(self, response: Response) -> list[str]:
        text = response.text.strip()
        faults = []
        if not text:
            faults.append("empty")
        elif len(text) < self._shortest:
            faults.append("next to empty")
        if not response.finished and self._must_finish:
            faults.append("without an end")
        elif len(text) > self._longest:
            faults.append("far too long")
        if response.repetition > self._repetition or repeated_letters(text) > self._looping:
            faults.append("repeating itself")
        if response.nll is not None and response.nll > self._oddest:
            faults.append("far too odd")
        return faults

    def _unsound_share(self, responses: Sequence[Response]) -> float:
        return sum(bool(self._faults(response)) for response in responses) / len(responses)

    def _facts_lost(self, responses: Sequence[Response]) -> tuple[float, str]:
        """How far facts fall below the baseline's beyond the tolerance, and that in words.

        None are true where the response says nothing but the baseline and the instructed one do.
        """
        told = [
            0.0
            if response.facts is None and None not in (baseline.facts, instructed.facts)
            else response.facts
            for response, baseline, instructed in zip(
                responses, self.baseline.responses, self.instructed.responses, strict=False
            )
        ]
        facts = mean(told)
        # On the queries a candidate saw, which are always the first ones.
        usual = mean(response.facts for response in self.baseline.responses[: len(responses)])
        if facts is None or usual is None:
            return 0.0, ""
        return max(usual - self.guard.facts - facts, 0.0), f"facts {facts:.2f} against {usual:.2f}"


def repeated_letters(text: str, run: int = _LETTERS) -> float:
    """The share of runs of characters that were there before: `1 - distinct / all`.

    It sees loops that have no spaces, `thethethe`, which word n-grams take for a single word.

    Args:
        text: The response.
        run: Characters per run.

    Returns:
        A share in [0, 1); 0 for a text shorter than two runs.
    """
    count = len(text) - run + 1
    if count < run + 1:
        return 0.0
    lower = text.lower()
    return 1 - len({lower[start : start + run] for start in range(count)}) / count


def rank(candidate: Measured) -> tuple[bool, float, int]:
    """Best first: what is not rejected by score; among equals the one without objections."""
    return candidate.rejected, -candidate.score, len(candidate.objections)
