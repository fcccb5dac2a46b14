"""Which answers a suite takes: every item under each condition that it, its steering and its constraint allow."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from trimtab import arguments
from trimtab.errors import SteeringError, TrimtabError
from trimtab.instructions.together import constraint_of
from trimtab.measure.rows import CONSTRAINED, Condition
from trimtab.steering.collection import SteeringSet
from trimtab.steering.steering import Steering, given

if TYPE_CHECKING:
    from trimtab.constraint import Constraint
    from trimtab.evaluate.suites import Item, Suite
    from trimtab.instructions import Instruction

Steerings = SteeringSet | Steering | Sequence[Steering] | Mapping["Instruction", Steering]
"""Steerings that find their prompts by their records, or the steering of each instruction."""

Find = Callable[[Sequence["Instruction"]], Steering | None]
"""Finds the steering of a prompt's instructions."""


@dataclass(frozen=True)
class Job:
    """One answer to get. It is looked for and kept by its key, unless its steering has a rule that is Python code."""

    item: Item
    condition: Condition
    prompt: str
    steering: Steering | None
    strength: float | None
    constraint: Constraint | None
    key: dict[str, Any]
    kept: bool


def finding(steerings: Steerings | None) -> tuple[Find | None, Sequence[Steering]]:
    """What finds the steering of a prompt's instructions, the same one for the same ones, and all there are."""
    if steerings is None:
        return None, ()
    if isinstance(steerings, Mapping):
        of = {wanted: given(one, "each of steerings") for wanted, one in steerings.items()}
        made: dict[tuple[Instruction, ...], Steering] = {}

        def find(wanted: Sequence[Instruction]) -> Steering | None:
            if any(one not in of for one in wanted):
                return None
            first, *more = (of[one] for one in dict.fromkeys(wanted))
            return made.setdefault(tuple(wanted), functools.reduce(operator.add, more, first))

        return find, list(of.values())
    if not isinstance(steerings, SteeringSet):
        if isinstance(steerings, Steering):
            steerings = [steerings]
        several = arguments.listed(steerings, "steerings", "steerings", SteeringError)
        steerings = SteeringSet([given(one, "each of steerings") for one in several])
    return steerings.for_instructions, steerings.steerings


def matched(suite: Suite, find: Find | None, there: Sequence[Steering]) -> tuple[Suite, dict[str, int]]:
    """The items that can be measured, and how many were left out, by reason.

    Raises:
        TrimtabError: There is none.
    """
    left_out: dict[str, int] = {}
    items = list(suite.items)
    if find is not None:
        found = [item for item in items if find(item.instructions) is not None]
        if not found:
            have = "; ".join(", ".join(one["name"] for one in each.record.instructions) for each in there)
            raise TrimtabError(
                f"none of the {len(items)} prompts of {suite.name} has a steering for all of its instructions "
                f"(there are steerings for: {have}); parameters must be the same, unless steerings match by type"
            )
        if len(found) < len(items):
            left_out["no steering for all of its instructions"] = len(items) - len(found)
        items = found
    unchecked = [item for item in items if not all(one.can_check for one in item.instructions)]
    if unchecked:
        left_out["an instruction without a check"] = len(unchecked)
        items = [item for item in items if item not in unchecked]
        if not items:
            lacking = dict.fromkeys(
                one.label for item in unchecked for one in item.instructions if not one.can_check
            )
            raise TrimtabError(
                f"no prompt of {suite.name} can be judged: each has an instruction without a check "
                f"({', '.join(lacking)}); give these a check, name who judges tones (--judged-by), or choose other "
                "instructions"
            )
    return replace(suite, items=tuple(items)), left_out


def jobs_of(
    suite: Suite,
    find: Find | None,
    conditions: Sequence[Condition],
    strengths: Sequence[float],
    model: dict[str, Any],
    max_new_tokens: int,
    text: Callable[[str], str],
) -> list[Job]:
    """All answers to get, item by item, each item's in the order of the conditions.

    `text` is what the model reads of a prompt: kept answers are those to it, since a chat template may write the date.
    """
    scaled: dict[tuple[int, float], tuple[Steering, str | None]] = {}

    def at(steering: Steering, strength: float) -> tuple[Steering, str | None]:
        # One object for each steering and strength: its digest is computed once, and rows that share it batch well.
        place = (id(steering), strength)
        if place not in scaled:
            strong = steering * strength
            try:
                scaled[place] = (strong, strong.digest())
            except SteeringError:  # a rule that is Python code has no digest
                scaled[place] = (strong, None)
        return scaled[place]

    jobs = []
    for item in suite.items:
        steering = None if find is None else find(item.instructions)
        # Asked for what it needs only: most conditions are free.
        held = constraint_of(item.instructions, item.asked) if set(conditions) & set(CONSTRAINED) else None
        plan: list[tuple[Condition, str | None, float | None, Constraint | None]] = [
            ("baseline", item.query, None, None),
            ("instructed", item.instructed, None, None),
        ]
        if steering is not None:
            plan += [("steered", item.query, strength, None) for strength in strengths]
            plan.append(("instructed+steered", item.instructed, strengths[0], None))
        if held is not None:
            plan.append(("constrained", item.query, None, held))
            if steering is not None:
                plan.append(("steered+constrained", item.query, strengths[0], held))
        for condition, prompt, strength, constraint in plan:
            if prompt is None or condition not in conditions:
                continue
            applied, digest = (None, None)
            if steering is not None and strength is not None:
                applied, digest = at(steering, strength)
            key = {
                "kind": "answer",
                "model": model,
                "steering": digest,
                "prompt": prompt,
                "text": text(prompt),
                "query": item.asked,
                "settings": {"max_new_tokens": max_new_tokens, "sampling": "greedy"},
                **({} if constraint is None else {"constraint": [constraint.kind, constraint.text]}),
            }
            kept = applied is None or digest is not None
            jobs.append(Job(item, condition, prompt, applied, strength, constraint, key, kept))
    return jobs
