"""Answers to a suite, and the accuracies of one condition as IFEval defines them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab.measure import significance
from trimtab.measure.quality import Quality, perplexity_of
from trimtab.measure.responses import Response, quality_of
from trimtab.measure.rows import Condition
from trimtab.measure.statistics import Interval, mean, rounded

if TYPE_CHECKING:
    from trimtab.evaluate.suites import Item


@dataclass(frozen=True)
class Answer:
    """One answer to one item under one condition.

    Attributes:
        item: What was asked.
        condition: What was done to the prompt.
        strength: By what the steering was multiplied; None without steering.
        method: How the steering was learned; None without steering.
        response: What came back, and its quality.
        strict: For each instruction of the item, whether the strict check passes.
        loose: The same of the loose check.
        undecided: For each instruction, whether neither check can tell; empty where all are decided.
    """

    item: Item
    condition: Condition
    strength: float | None
    method: str | None
    response: Response
    strict: tuple[bool, ...]
    loose: tuple[bool, ...]
    undecided: tuple[bool, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The answer as JSON."""
        return {
            "key": self.item.key,
            "condition": self.condition,
            "strength": self.strength,
            "prompt": self.response.prompt,
            "response": self.response.text,
            "finished": self.response.finished,
            "instructions": [
                {
                    **one.to_dict(),
                    "strict": strict,
                    "loose": loose,
                    **({"undecided": True} if open_ else {}),
                    **({} if one.judge_in_place is None else {"judge": one.judge_in_place.name}),
                }
                for one, strict, loose, open_ in zip(
                    self.item.instructions,
                    self.strict,
                    self.loose,
                    self.undecided or (False,) * len(self.strict),
                    strict=True,
                )
            ],
            "nll": rounded(self.response.nll),
            "repetition": rounded(self.response.repetition),
            "facts": rounded(self.response.facts),
            "scorer_nll": rounded(self.response.scorer_nll),
            "relevance": rounded(self.response.relevance),
            "taken": rounded(self.response.taken),
            "judged": rounded(self.response.judged),
            **({} if self.response.thought is None else {"thought": self.response.thought}),
        }


@dataclass(frozen=True)
class Accuracy:
    """IFEval's four accuracies of one condition, and the quality of its answers.

    Attributes:
        condition: What was done to the prompts.
        strength: Of the steering; None without.
        prompts: Number of prompts.
        instructions: Number of instructions in them.
        shares: `prompt_strict`, `instruction_strict`, `prompt_loose`, `instruction_loose`: the share of prompts all of
            whose instructions are followed, or of instructions that are, by either check; each with its 95 % interval.
        quality: Perplexity, repetition and facts of the answers.
        perplexity_interval: 95 % bootstrap interval of the perplexity; None with fewer than two answers to score.
        judged: Mean share of a judge's questions answered with yes; None without a judge.
        words: Mean number of words of an answer.
        finished: Share of answers that the model ended itself.
        undecided: Number of instructions of which neither check can tell; the shares count them as not followed.
    """

    condition: Condition
    strength: float | None
    prompts: int
    instructions: int
    shares: dict[str, tuple[float, Interval]]
    quality: Quality
    perplexity_interval: Interval | None
    judged: float | None
    words: float
    finished: float
    undecided: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The accuracies as JSON."""
        quality: dict[str, Any] = self.quality.to_dict()
        if self.perplexity_interval is not None:
            quality["perplexity_interval"] = self.perplexity_interval.to_list()
        return {
            "condition": self.condition,
            "strength": self.strength,
            "prompts": self.prompts,
            "instructions": self.instructions,
            **{
                name: {"share": round(share, 4), "interval": interval.to_list()}
                for name, (share, interval) in self.shares.items()
            },
            "quality": quality,
            "judged": rounded(self.judged),
            "words": round(self.words, 1),
            "finished": round(self.finished, 4),
            "undecided": self.undecided,
        }


def accuracy_of(condition: Condition, answers: Sequence[Answer]) -> Accuracy:
    """The accuracies of the answers of one condition: at least one, all of one strength.

    Raises:
        TrimtabError: scipy is missing.
    """
    counts = [len(answer.strict) for answer in answers]
    shares = {}
    for check in ("strict", "loose"):
        passed: list[tuple[bool, ...]] = [getattr(answer, check) for answer in answers]
        whole = [int(all(one)) for one in passed]
        single = [sum(one) for one in passed]
        shares[f"prompt_{check}"] = (sum(whole) / len(whole), significance.share_interval(whole))
        shares[f"instruction_{check}"] = (
            sum(single) / sum(counts),
            significance.share_interval(single, counts),
        )
    responses = [answer.response for answer in answers]
    nlls = significance.mean_interval([response.nll for response in responses])
    return Accuracy(
        condition=condition,
        strength=answers[0].strength,
        prompts=len(answers),
        instructions=sum(counts),
        shares=shares,
        quality=quality_of(responses),
        perplexity_interval=None
        if nlls is None
        else Interval(perplexity_of([nlls.low]) or 0.0, perplexity_of([nlls.high]) or 0.0),
        judged=mean(response.judged for response in responses),
        words=mean(len(response.text.split()) for response in responses) or 0.0,
        finished=sum(response.finished for response in responses) / len(responses),
        undecided=sum(sum(answer.undecided) for answer in answers),
    )


def bounds(interval: Interval) -> list[float]:
    """An interval as JSON."""
    return [round(interval.low, 4), round(interval.high, 4)]
