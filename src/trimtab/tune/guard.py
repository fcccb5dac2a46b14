"""How candidates of a search are scored, with a guard on quality.

The score of a candidate, between 0 and 1 for a useful one, is

    good - facts lost - 0.25 * |log perplexity outside the range| - 0.25 * excess over the bounds

- *good* is the share of responses that follow the instruction and are sound: not empty or next to it, brought to an
  end, of a length one would expect, not repeating themselves, not odder than anything the model writes by itself.
- *facts lost* is how far the share of true sentences falls below the baseline's, beyond a tolerance. A response that
  claims nothing, where both the baseline and the instructed one do, has none: `{}` is no good answer in JSON.
- Perplexity (of the response to the bare query, under the unsteered model) has a range in which it costs nothing:
  from a fraction of the lower to a multiple of the higher of what the baseline and the *instructed* model write.
  Following an instruction makes an answer less usual by itself, so the instructed model is the fair measure. Too
  low is as suspicious as too high: a loop is easy to predict.
- The bounds (`trimtab.measure.bounds`) are those of every steering: repetition, length, perplexity, and relevance and
  perplexity under a scorer where there is one, beside plain answers; what instructed answers that follow cost by
  themselves is allowed. Facts are counted above, and not twice.

A candidate that fails badly in any of these is *rejected*: it never wins, whatever its score.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from trimtab import arguments
from trimtab.errors import SteeringError
from trimtab.measure.bounds import Bounds, Comparison, about_length, compare
from trimtab.measure.responses import Response
from trimtab.measure.rows import Row
from trimtab.measure.statistics import mean
from trimtab.tune.tuned import Measured

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
        bounds: How much worse than plain answers its own may be, all together; out of bounds it loses score.
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
    bounds: Bounds = field(default_factory=Bounds)

    def __post_init__(self) -> None:
        arguments.bounds(self, leave=("bounds",))
        arguments.instance(self.bounds, "bounds", Bounds, "a Bounds (trimtab.evaluate.Bounds)", SteeringError)


Rule = Callable[[Row], Measured]
"""A rule by which candidates are compared: scores the judged responses to the first queries, or to all."""


class Reference:
    """What candidates are measured against: the baseline and the instructed responses.

    Args:
        baseline: Responses to the bare queries, without steering, judged.
        instructed: Responses to the same queries with the instruction in the prompt, judged.
        guard: What quality may cost.

    Attributes:
        lowest: Below this perplexity a candidate loses score.
        highest: Above this one, too.
    """

    def __init__(self, baseline: Row, instructed: Row, guard: Guard) -> None:
        self.baseline, self.instructed, self.guard = baseline, instructed, guard
        rows = (baseline, instructed)
        known = [row.quality.perplexity for row in rows]
        usual = [value for value in known if value is not None]
        self.lowest = min(usual) ** guard.perplexity_low if usual else 0.0
        self.highest = guard.perplexity_high * max(usual) if usual else math.inf
        both = [*baseline.responses, *instructed.responses]
        surprises = [response.nll for response in both if response.nll is not None]
        self._oddest = max(surprises, default=math.inf) + math.log(guard.oddness)
        self._repetition = max(guard.repetition, 1.2 * max(row.quality.repetition for row in rows))
        self._looping = max(guard.repetition, 1.2 * max(repeated_letters(response.text) for response in both))
        lengths = [len(response.text.strip()) for response in both]
        count = baseline.n
        self._shortest = guard.shortness * min(sum(lengths[:count]), sum(lengths[count:])) / count
        self._longest = guard.length * max(lengths)
        # A model that is cut off anyway (a small limit, a talkative model) cannot be asked to come to an end.
        self._must_finish = min(row.finished for row in rows) > 0.5
        self._unsound = guard.unsound + max(_share(map(self._faults, row.responses)) for row in rows)

    def measure(self, row: Row) -> Measured:
        """Score a candidate by its judged responses to the first queries, or all."""
        faults = [self._faults(response) for response in row.responses]
        good = sum(strict and not found for strict, found in zip(row.strict, faults, strict=True))
        words = [fault for found in faults for fault in found]
        objections = [f"{words.count(fault)} {fault}" for fault in dict.fromkeys(words)]
        rejected = _share(faults) > self._unsound
        lost, told = self._facts_lost(row.responses)
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
        compared = self._compared(row)
        # A perplexity out of its range has been objected to.
        objections += [str(one) for one in compared.departures if not (odd and one.measure == "perplexity")]
        return Measured(
            n=row.n,
            followed=row.followed,
            loose=row.followed_loose,
            good=good / row.n,
            quality=row.quality,
            score=good / row.n - lost - 0.25 * (odd + compared.excess),
            objections=tuple(objections),
            rejected=rejected,
            out_of_bounds=tuple(str(one) for one in compared.departures),
        )

    def _compared(self, row: Row) -> Comparison:
        """A candidate beside the plain answers to the queries that it saw, which are always the first ones."""
        seen = range(row.n)
        plain, told = self.baseline.take(seen), self.instructed.take(seen)
        passed = [number for number in seen if told.strict[number]]
        return compare(
            replace(row.quality, facts=None),
            plain.quality,
            self.guard.bounds,
            following=told.take(passed).quality if passed else None,
            any_length=about_length([row.instruction]),
        )

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


def _share(faults: Iterable[Sequence[str]]) -> float:
    """The share of responses that have any."""
    having = [bool(found) for found in faults]
    return sum(having) / len(having)


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
