"""Choosing where and how strongly to steer: a small search on validation prompts with a guard on quality.

`search` tries candidates (add or set projection, block, strength) as *rows of the same batches*, each row with its own
steering, and by successive halving (`trimtab.tune.trials`): all of them on the first few queries, the best few on all.
How they are scored, and what never wins, is in `trimtab.tune.guard`; the rule of Stolfo et al. (ICLR 2025), who try one
layer and one prompt at a time, is in `trimtab.tune.paper`. `refit_strength` looks for the strength of any finished
steering.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from trimtab import arguments
from trimtab.engines import as_engine
from trimtab.errors import SteeringError
from trimtab.instructions import resolve
from trimtab.learn import Directions, learning_source
from trimtab.learn.directions import APPLICATIONS, Application, directions_given
from trimtab.measure.quality import FactCheck
from trimtab.measure.responses import Response
from trimtab.progress import Progress, shown
from trimtab.steering.edits import TokenScope
from trimtab.steering.steering import Steering, given
from trimtab.tune.guard import Guard
from trimtab.tune.paper import PaperRule
from trimtab.tune.trials import Trials
from trimtab.tune.tuned import Tuned, Weights

if TYPE_CHECKING:
    from trimtab.engines import Model
    from trimtab.instructions import Instruction
    from trimtab.measure.scorer import Scorer

__all__ = ["FACTORS", "STRENGTHS", "Choice", "default_blocks", "refit_strength", "search"]

Choice = tuple[Application, int, float]
"""How a direction is applied, at which block, how strongly."""

STRENGTHS = (0.5, 1.0, 2.0, 4.0)
"""Strengths tried by default: 1 is what the instruction itself does on average."""

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0)
"""Factors on a finished steering tried by default: 1 is the steering as it is."""


def search(
    model: Model,
    directions: Directions,
    instruction: Instruction | str,
    queries: Sequence[str],
    *,
    blocks: Sequence[int] | None = None,
    strengths: Sequence[float] | None = None,
    methods: Sequence[Application] | None = None,
    facts: FactCheck | None = None,
    scorer: Scorer | None = None,
    guard: Guard | None = None,
    rule: PaperRule | None = None,
    weights: bool = False,
    manual_weight: float | None = None,
    baseline: Sequence[Response] | None = None,
    tokens: TokenScope = "all",
    first: int | None = None,
    keep: int = 4,
    max_new_tokens: int = 192,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> Tuned:
    """Find the block, the strength and the way to apply a direction.

    Every response is generated greedily. With the defaults on a small model, some seconds.

    Args:
        model: The model the directions were learned on.
        directions: What was learned.
        instruction: What is to be followed, or its spelling. It may differ from what the directions
            were learned from (an exclusion is learned from its inclusion); the steering then stands for this one.
        queries: Validation queries, without the instruction.
        blocks: The blocks to try; by default up to six, spread over those learned, the outermost ones left out where
            there are enough.
        strengths: Multiples of the instruction's own effect. By default `STRENGTHS`, or their negatives where
            `learning_source` says so.
        methods: Ways to apply a direction; both by default.
        facts: Judges the truth of a response to a query; None leaves facts out.
        scorer: Another model, whose perplexity and relevance are bounded too; None leaves it out.
        guard: What quality may cost.
        rule: Choose by the rule of the paper instead of the guard. The defaults are then the paper's as well: its
            blocks, set projection only, strength 1 only, and all candidates on all queries.
        weights: Also find the best block for the computed and for the manual weight, at some more rows.
        manual_weight: The manual weight, in units of the residual stream; None takes the length of each block's mean
            difference along the direction (strength 1). An exclusion that uses its inclusion's directions takes it
            backwards.
        baseline: Responses to exactly these queries without steering (`evaluate.respond_baseline`), to share them
            between instructions; None generates them.
        tokens: Which tokens the steering acts on.
        first: How many queries all candidates are tried on; 3 by default.
        keep: How many candidates are tried on all queries.
        max_new_tokens: Longest response, in tokens.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Which validation phrasings meet which queries.
        progress: See `trimtab.progress.Progress`.

    Returns:
        The best candidate as a steering, and all candidates for a table.

    Raises:
        PromptError: There are no queries, or the baseline answers others.
        SteeringError: There is nothing to try, or the directions are for another model.
        ModelError: The paper's rule needs a perplexity this engine cannot give.
    """
    engine, instruction = as_engine(model), resolve(instruction)
    directions = directions_given(directions)
    weights = arguments.flag(weights, "weights", SteeringError)
    if manual_weight is not None:
        arguments.number(manual_weight, "manual_weight", SteeringError)
    grid = _grid(directions, instruction, blocks, strengths, methods, rule)
    groups = {"searched": grid}
    own = directions.standing_for(instruction.label, instruction.to_dict())
    # Before the weights, which look up the blocks of the search: this names one that was not learned.
    steerings = {choice: own.steering(choice[0], choice[1], choice[2], tokens) for choice in grid}
    if weights:
        groups |= _fixed_weights(directions, instruction, grid, manual_weight)
        for choice in itertools.chain(*groups.values()):
            if choice not in steerings:
                steerings[choice] = own.steering(choice[0], choice[1], choice[2], tokens)

    def fields(choice: Choice) -> dict[str, Any]:
        application, block, strength = choice
        weight = steerings[choice].edits[0].alpha
        return {"application": application, "block": block, "strength": strength, "weight": weight}

    with shown(progress) as tell:
        trials = Trials(
            engine,
            instruction,
            queries,
            steerings,
            fields=fields,
            tie=lambda choice: (abs(choice[2]), choice[1]),  # the gentlest, then the earliest block
            baseline=baseline,
            facts=facts,
            scorer=scorer,
            guard=guard,
            rule=rule,
            first=first,
            keep=keep,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            seed=seed,
            tell=tell,
        )
        found = {name: trials.best(group) for name, group in groups.items()}
    chosen = {name: next(iter(group.values())) for name, group in found.items()}
    return trials.tuned(found["searched"], weights=Weights(**chosen) if weights else None)


def refit_strength(
    model: Model,
    steering: Steering,
    instruction: Instruction | str,
    queries: Sequence[str],
    *,
    strengths: Sequence[float] = FACTORS,
    facts: FactCheck | None = None,
    scorer: Scorer | None = None,
    guard: Guard | None = None,
    baseline: Sequence[Response] | None = None,
    first: int | None = None,
    keep: int = 4,
    max_new_tokens: int = 192,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> Tuned:
    """Find the strength of a finished steering: one that was distilled, composed, or made for another model.

    Args:
        model: The model it is to be used on, which it must be for (`Steering.moved_to`).
        steering: The steering; all of its edits are scaled alike.
        instruction: What is to be followed, or its spelling.
        queries: Validation queries, without the instruction.
        strengths: The factors to try.
        facts: As in `search`, as are the other arguments.
        scorer: Another model.
        guard: What quality may cost.
        baseline: Responses to exactly these queries without steering.
        first: How many queries all factors are tried on; 3 by default.
        keep: How many factors are tried on all queries.
        max_new_tokens: Longest response, in tokens.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Which validation phrasings meet which queries.
        progress: See `trimtab.progress.Progress`.

    Returns:
        The steering at the best strength, and every strength for a table.

    Raises:
        PromptError: There are no queries, or the baseline answers others.
        SteeringError: There is nothing to try, or the steering is for another model.
    """
    engine, instruction = as_engine(model), resolve(instruction)
    given(steering).check_model(engine.identity)
    steerings = {strength: steering * strength for strength in strength_list(strengths)}
    if not steerings or not steering.edits:
        raise SteeringError(
            f"there is nothing to try for '{steering.name}': give at least one strength, and a steering with edits"
        )
    with shown(progress) as tell:
        trials = Trials(
            engine,
            instruction,
            queries,
            steerings,
            fields=lambda strength: {"strength": strength},
            tie=lambda strength: (abs(strength - 1), strength),  # the nearest to the steering as it is
            baseline=baseline,
            facts=facts,
            scorer=scorer,
            guard=guard,
            rule=None,
            first=first,
            keep=keep,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            seed=seed,
            tell=tell,
        )
        return trials.tuned(trials.best(list(steerings)))


def default_blocks(directions: Directions, most: int = 6) -> list[int]:
    """Up to `most` blocks to try, spread evenly over those learned.

    The last block is left out where there are others: what is written there reaches only the next token. So is the
    first in a model of eight blocks or more.
    """
    most = arguments.whole(most, "most", SteeringError, least=1)
    usable = _usable(directions_given(directions))
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
    methods: Sequence[Application] | None,
    rule: PaperRule | None,
) -> list[Choice]:
    if rule is not None:
        arguments.instance(rule, "rule", PaperRule, "a PaperRule, or None", SteeringError)
    if methods is None:
        methods = ("set_projection",) if rule else APPLICATIONS
    if strengths is None:
        sign = _sign(directions, instruction)
        strengths = [sign * strength for strength in ((1.0,) if rule else STRENGTHS)]
    if blocks is None and rule is not None:
        usable = _usable(directions)
        blocks = [block for block in rule.blocks(directions.model.blocks) if block in usable]
    if blocks is None:
        blocks = default_blocks(directions)
    methods = arguments.listed(methods, "methods", "ways to apply a direction", SteeringError)
    for method in methods:
        arguments.one_of(method, "each of methods", APPLICATIONS, SteeringError)
    blocks = arguments.listed(blocks, "blocks", "block numbers", SteeringError)
    blocks = [arguments.whole(block, "each of blocks", SteeringError) for block in blocks]
    strengths = strength_list(strengths)
    grid: list[Choice] = [
        (method, block, strength) for method in methods for block in blocks for strength in strengths
    ]
    if not grid:
        raise SteeringError(
            f"there is nothing to try for {instruction.label}: give at least one block, strength and method "
            f"({', '.join(APPLICATIONS)}), and pairs in which the instruction makes a difference"
        )
    return list(dict.fromkeys(grid))


def _fixed_weights(
    directions: Directions, instruction: Instruction, grid: Sequence[Choice], manual: float | None
) -> dict[str, list[Choice]]:
    """The candidates of the computed and of the manual weight, at the blocks of the search."""
    sign = float(_sign(directions, instruction))
    blocks = sorted({block for _, block, _ in grid})

    def strength(block: int) -> float:
        """What multiple of the instruction's own effect the manual weight is."""
        row = directions.blocks.index(block)
        distance = float(directions.instructed[row].double() - directions.plain[row].double())
        return sign if manual is None or distance == 0 else sign * manual / distance

    return {
        "computed": [("set_projection", block, sign) for block in blocks],
        "manual": [("add", block, strength(block)) for block in blocks],
    }


def strength_list(strengths: Iterable[float]) -> list[float]:
    """Strengths to try, as a list.

    Raises:
        SteeringError: One is no finite number.
    """
    found = arguments.listed(strengths, "strengths", "numbers", SteeringError)
    return [arguments.number(one, "each of strengths", SteeringError) for one in found]


def _sign(directions: Directions, instruction: Instruction) -> int:
    """-1 for an exclusion whose directions are those of its inclusion."""
    source = learning_source(instruction)
    return source.sign if source.instruction.to_dict() == directions.instruction else 1


def _usable(directions: Directions) -> list[int]:
    return [block for row, block in enumerate(directions.blocks) if bool(directions.directions[row].any())]
