"""The figures of the table, from the answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trimtab.instructions import from_dict
from trimtab.measure.quality import perplexity_of
from trimtab.measure.statistics import mean, rounded

ABOUT_LENGTH = "length"
"""The family of instructions whose answers shall be of another length."""
RATIOS = ("perplexity", "scorer_perplexity", "relevance", "tokens")
"""What is compared with plain answers by a ratio; repetition, which is often 0, by a difference."""


def figures_of(measured: Mapping[str, Any]) -> dict[str, Any]:
    """What one instruction came to.

    Args:
        measured: As `answering.Bench.instruction` gives it, with the scores that there are.

    Returns:
        `instruction`, `family`, `seconds`, and `conditions`: of each `followed`, `loose`, `n`, the measures of quality,
        and (`against_plain`) how these compare with those of plain answers to the same questions.
    """
    instruction = from_dict(measured["what"]["instruction"])
    conditions = {name: _condition(answers) for name, answers in measured["conditions"].items()}
    plain = conditions["baseline"]
    for one in conditions.values():
        one["against_plain"] = {name: _ratio(one[name], plain[name]) for name in RATIOS} | {
            "repetition": rounded(one["repetition"] - plain["repetition"])
        }
    if (facts := measured.get("facts")) is not None:
        for name in ("baseline", "steered"):
            conditions[name]["facts"] = rounded(facts[name])
            conditions[name]["against_plain"]["facts"] = rounded(facts[name] - facts["baseline"])
    return {
        "instruction": instruction.label,
        "family": instruction.type.family,
        "seconds": measured["learned"]["seconds"],
        "refused": measured["learned"].get("refused"),
        "teacher": measured["learned"].get("teacher"),
        "edits": measured["edits"],
        "conditions": conditions,
    }


def _condition(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    scored = [answer for answer in answers if "relevance" in answer]
    taken = [answer["taken"] for answer in answers if answer.get("taken") is not None]
    return {
        "n": len(answers),
        "followed": rounded(_share(answer["strict"] for answer in answers)),
        "loose": rounded(_share(answer["loose"] for answer in answers)),
        "finished": rounded(_share(answer["finished"] for answer in answers)),
        "tokens": rounded(mean(answer["tokens"] for answer in answers)),
        "repetition": rounded(mean(answer["repetition"] for answer in answers)) or 0.0,
        "perplexity": rounded(perplexity_of([answer["nll"] for answer in answers])),
        "scored": len(scored),
        "scorer_perplexity": rounded(perplexity_of([answer["scorer_nll"] for answer in scored])),
        "relevance": rounded(mean(answer["relevance"] for answer in scored)),
        "taken": rounded(mean(taken)),
    }


def _share(passed: Iterable[bool]) -> float:
    verdicts = list(passed)
    return sum(verdicts) / len(verdicts)


def _ratio(value: float | None, plain: float | None) -> float | None:
    return None if value is None or not plain else rounded(value / plain)


def summary_of(
    instructions: Sequence[Mapping[str, Any]], pairs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Means and worst cases over the instructions, and over the pairs.

    Returns:
        By condition `followed` and each measure of quality against plain, mean and worst; `below_told`, the
        instructions that are followed less often told and steered than told; `seconds`; `pairs`.
    """
    found: dict[str, Any] = {"conditions": {}}
    names = dict.fromkeys(name for one in instructions for name in one["conditions"])
    for name in names:
        rows = [(one["family"], one["conditions"][name]) for one in instructions if name in one["conditions"]]
        shares = [row["followed"] for _, row in rows]
        found["conditions"][name] = {
            "kinds": len(rows),
            "followed": {"mean": rounded(mean(shares)), "worst": min(shares)},
            **{measure: _spread(measure, rows) for measure in (*RATIOS, "repetition", "facts", "taken")},
        }
    found["below_told"] = [
        one["instruction"]
        for one in instructions
        if "instructed+steered" in one["conditions"]
        and one["conditions"]["instructed+steered"]["followed"] < one["conditions"]["instructed"]["followed"]
    ]
    seconds = [one["seconds"] for one in instructions if one["seconds"] is not None]
    found["seconds"] = {"mean": rounded(mean(seconds)), "worst": max(seconds, default=None)}
    if pairs:
        found["pairs"] = {"count": len(pairs)}
        for name in ("followed", "composed"):
            both = [pair[name] for pair in pairs if pair[name] is not None]
            if both:
                found["pairs"][name] = {"mean": rounded(mean(both)), "worst": min(both)}
    return found


def _spread(measure: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, float | None] | None:
    """Mean and worst of a measure against plain; lengths without the instructions that are about length."""
    if measure == "taken":
        values = [row["taken"] for _, row in rows]
    else:
        kept = [row for family, row in rows if measure != "tokens" or family != ABOUT_LENGTH]
        values = [row["against_plain"].get(measure) for row in kept]
    known = [value for value in values if value is not None]
    if not known:
        return None
    if measure == "tokens":
        worst = max(known, key=lambda value: abs(value - 1))
    elif measure in ("relevance", "facts"):
        worst = min(known)
    else:
        worst = max(known)
    return {"mean": rounded(mean(known)), "worst": worst}


def pair_of(measured: Mapping[str, Any]) -> dict[str, Any]:
    """What one pair came to by its union: `instructions`, `followed` (both), `n`, the mean `repetition` and `tokens`.

    `composed` is how often both were followed where it was put together by `trimtab compose`; None where it was not, or
    could not be.
    """
    answers = _condition(measured["conditions"]["steered"])
    composed = measured.get("composed")
    labels = [from_dict(one["instruction"]).label for one in measured["what"]["of"]]
    return {
        "instructions": labels,
        **{name: answers[name] for name in ("followed", "n", "repetition", "tokens")},
        "composed": None if composed is None else _condition(composed)["followed"],
    }
