"""Choosing where and how strongly to steer: a small search on validation prompts with a guard on quality.

A candidate is (add or set projection, block, strength). Candidates are tried as *rows of the same batches*, each row
with its own steering, and by successive narrowing: all of them on the first few queries, the best few on all. How they
are scored is in `trimtab.candidates`.

Stolfo et al. (ICLR 2025, section 3) choose the block by followed and perplexity on validation prompts as well, one
block and one prompt at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from trimtab.candidates import Candidate, Choice, Guard, Reference
from trimtab.edits import TokenScope
from trimtab.errors import PromptError, SteeringError
from trimtab.evaluate.conditions import Response, respond
from trimtab.evaluate.quality import FactCheck
from trimtab.learn.directions import APPLICATIONS, Application, Directions
from trimtab.learn.sources import learning_source
from trimtab.prompts import make_pairs
from trimtab.steering import Steering

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction

__all__ = ["STRENGTHS", "Candidate", "Guard", "Tuned", "default_blocks", "search"]

STRENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Strengths tried by default: 1 is what the instruction itself does on average."""


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        steering: The best candidate as a steering, its measurements recorded.
        best: The best candidate.
        candidates: Every candidate tried, best first; each as measured on the most queries it saw.
        baseline_followed: Share of plain responses that follow the instruction by chance.
        baseline_score: The score of steering nothing.
        instructed_followed: Share of instructed responses that follow it.
        improved: Whether the best candidate beats steering nothing. If not, the steering is the least bad one and is
            flagged in its measurements (`"improved": false`).
    """

    steering: Steering
    best: Candidate
    candidates: list[Candidate]
    baseline_followed: float
    baseline_score: float
    instructed_followed: float
    improved: bool


def search(
    engine: Engine,
    directions: Directions,
    instruction: Instruction,
    queries: Sequence[str],
    *,
    blocks: Sequence[int] | None = None,
    strengths: Sequence[float] | None = None,
    methods: Sequence[Application] = APPLICATIONS,
    facts: FactCheck | None = None,
    guard: Guard | None = None,
    baseline: Sequence[Response] | None = None,
    tokens: TokenScope = "all",
    first: int = 3,
    keep: int = 4,
    max_new_tokens: int = 192,
    batch_size: int | None = None,
    seed: int = 0,
) -> Tuned:
    """Find the block, the strength and the way to apply a direction.

    Every response is generated greedily. The work is about `len(blocks) * len(strengths) * len(methods) * first` rows,
    then `keep` times the remaining queries; with the defaults on a small model, some seconds.

    Args:
        engine: The model the directions were learned on.
        directions: What was learned.
        instruction: What is to be followed. It may differ from what the directions were learned from (an exclusion
            is learned from its inclusion); the steering then stands for this one.
        queries: Validation queries, without the instruction.
        blocks: The blocks to try; by default up to six, spread over those learned, the outermost ones left out where
            there are enough.
        strengths: Multiples of the instruction's own effect. By default `STRENGTHS`, or their negatives where
            `learning_source` says so.
        methods: Ways to apply a direction.
        facts: Judges the truth of a response to a query; None leaves facts out.
        guard: What quality may cost.
        baseline: Responses to exactly these queries without steering (`evaluate.respond_baseline`), to share them
            between instructions; None generates them.
        tokens: Which tokens the steering acts on.
        first: How many queries all candidates are tried on.
        keep: How many candidates are then tried on all queries.
        max_new_tokens: Longest response, in tokens.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Which validation phrasings meet which queries.

    Returns:
        The best candidate as a steering, and all candidates for a table.

    Raises:
        PromptError: There are no queries, or the baseline answers others.
        SteeringError: There is nothing to try, or the directions are for another model.
    """
    guard = guard or Guard()
    queries = list(queries)
    if not queries:
        raise PromptError("there are no validation queries to search with; give at least one")
    if baseline is not None and [response.query for response in baseline] != queries:
        raise PromptError("the baseline responses answer other queries than the ones to search with")
    if first < 1 or keep < 1:
        raise SteeringError(
            f"a search needs at least one first query and one candidate to keep, not {first} and {keep}"
        )
    grid = _grid(directions, instruction, blocks, strengths, methods)
    directions = directions.standing_for(instruction.label, instruction.to_dict())
    answer = partial(respond, engine, facts=facts, max_new_tokens=max_new_tokens, batch_size=batch_size)

    pairs = make_pairs(queries, instruction, "validation", seed)
    spoken = [pair.instructed for pair in pairs]
    if baseline is None:
        both = answer(queries * 2, queries + spoken)
        baseline, instructed = both[: len(queries)], both[len(queries) :]
    else:
        instructed = answer(queries, spoken)
    reference = Reference(instruction, list(baseline), instructed, guard)

    steerings = {choice: directions.steering(choice[0], choice[1], choice[2], tokens) for choice in grid}
    seen: dict[Choice, list[Response]] = {choice: [] for choice in grid}

    def measure(choices: list[Choice], start: int, stop: int) -> list[Candidate]:
        part = queries[start:stop]
        responses = answer(
            part * len(choices),
            part * len(choices),
            steering=[steerings[choice] for choice in choices for _ in part],
        )
        for number, choice in enumerate(choices):
            seen[choice] += responses[number * len(part) : (number + 1) * len(part)]
        return [reference.candidate(choice, seen[choice]) for choice in choices]

    candidates = measure(grid, 0, min(first, len(queries)))
    candidates.sort(key=_rank)
    if len(queries) > first:
        finalists = [(item.application, item.block, item.strength) for item in candidates[:keep]]
        # Those tried on all queries come first: a score on a few is mostly luck.
        candidates = sorted(measure(finalists, first, len(queries)), key=_rank) + candidates[keep:]
    best = candidates[0]
    baseline_score = reference.candidate((best.application, best.block, 0.0), list(baseline)).score
    improved = best.score > baseline_score
    chosen = steerings[best.application, best.block, best.strength]
    measurements = {
        "validation": {
            **{
                key: best.to_dict()[key]
                for key in ("n", "followed", "good", "score", "quality", "objections")
            },
            "baseline_followed": round(reference.baseline.followed, 4),
            "instructed_followed": round(reference.instructed.followed, 4),
        },
        "improved": improved,
    }
    record = dataclasses.replace(chosen.record, measurements=measurements)
    return Tuned(
        steering=dataclasses.replace(chosen, record=record),
        best=best,
        candidates=candidates,
        baseline_followed=reference.baseline.followed,
        baseline_score=baseline_score,
        instructed_followed=reference.instructed.followed,
        improved=improved,
    )


def default_blocks(directions: Directions, most: int = 6) -> list[int]:
    """Up to `most` blocks to try, spread evenly over those learned.

    The last block is left out where there are others: what is written there reaches only the next token. So is the
    first in a model of eight blocks or more.
    """
    usable = [block for row, block in enumerate(directions.blocks) if bool(directions.directions[row].any())]
    last = directions.model.blocks - 1
    outer = {last} if last < 7 else {0, last}
    inner = [block for block in usable if block not in outer] or usable
    if len(inner) <= most:
        return inner
    if most == 1:
        return [inner[len(inner) // 2]]
    return sorted({inner[round(step * (len(inner) - 1) / (most - 1))] for step in range(most)})


def _grid(
    directions: Directions,
    instruction: Instruction,
    blocks: Sequence[int] | None,
    strengths: Sequence[float] | None,
    methods: Sequence[Application],
) -> list[Choice]:
    if strengths is None:
        source = learning_source(instruction)
        turned = source.sign < 0 and source.instruction.to_dict() == directions.instruction
        strengths = [-strength for strength in STRENGTHS] if turned else STRENGTHS
    if blocks is None:
        blocks = default_blocks(directions)
    grid = [
        (method, block, float(strength)) for method in methods for block in blocks for strength in strengths
    ]
    if not grid:
        raise SteeringError(
            f"there is nothing to try for {instruction.label}: give at least one block, strength and method "
            f"({', '.join(APPLICATIONS)}), and pairs in which the instruction makes a difference"
        )
    return list(dict.fromkeys(grid))


def _rank(candidate: Candidate) -> tuple[float, float, float, int]:
    """Best first; among equals the one without objections, then the gentlest, then the earliest block."""
    return -candidate.score, len(candidate.objections), abs(candidate.strength), candidate.block
