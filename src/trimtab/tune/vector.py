"""The recipe of a vector: prompt pairs of its source, a direction in every block, a search for where and how strongly.

The source is the instruction itself, or the inclusion that an exclusion is learned from and goes against
(`trimtab.learn.captured`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab import arguments, learn
from trimtab.engines import as_engine
from trimtab.errors import SteeringError
from trimtab.instructions import resolve
from trimtab.learn import methods as learning_methods
from trimtab.learn.directions import APPLICATIONS, Application, Directions
from trimtab.progress import Progress
from trimtab.prompts.pairs import make_pairs
from trimtab.prompts.queries import query_list
from trimtab.steering.edits import TokenScope
from trimtab.steering.steering import Steering
from trimtab.tune.grid import search, strength_list
from trimtab.tune.tuned import Tuned

if TYPE_CHECKING:
    from trimtab.engines import Model
    from trimtab.instructions import Instruction

__all__ = ["Vector", "learn_directions", "make_vector"]


@dataclass(frozen=True)
class Vector:
    """A steering made of a direction.

    Attributes:
        steering: One block's direction, at one strength; without edits where all that was tried is degenerate.
        directions: Those of all blocks.
        tuned: What the search tried; None where there was nothing to choose.
    """

    steering: Steering
    directions: Directions
    tuned: Tuned | None = None


def learn_directions(
    model: Model,
    instruction: Instruction | str,
    queries: Sequence[str],
    *,
    method: str = "mean_difference",
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> Directions:
    """Learn the directions of an instruction from its source.

    Args:
        model: The model.
        instruction: What shall be followed, or its spelling.
        queries: Base queries to learn from.
        method: How a direction is found: the name of a method that gives directions (`learn.methods`).
        batch_size: Prompts per forward pass; None lets the engine choose.
        seed: Which learning phrasing meets which query.
        progress: See `trimtab.progress.Progress`.

    Returns:
        One direction per block, of the source (`learn.learning_source`).

    Raises:
        PromptError: There are no queries.
        ModelError: The model's activations are not finite.
    """
    source = learn.learning_source(resolve(instruction)).instruction
    pairs = make_pairs(queries, source, "learning", seed=seed)
    find = learning_methods.get(method, "directions")
    found: Directions = find(as_engine(model), pairs, source, batch_size=batch_size, progress=progress)
    return found


def make_vector(
    model: Model,
    instruction: Instruction | str,
    learning: Sequence[str],
    validation: Sequence[str] = (),
    *,
    method: str = "mean_difference",
    directions: Directions | None = None,
    blocks: Sequence[int] | None = None,
    strengths: Sequence[float] | None = None,
    methods: Sequence[Application] | None = None,
    tokens: TokenScope = "all",
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress = False,
    **options: Any,
) -> Vector:
    """Learn a direction and choose how to apply it.

    Args:
        model: The model.
        instruction: What shall be followed, or its spelling.
        learning: Base queries to learn from.
        validation: Others to choose on; none are needed where one block, one strength and one method are given.
        method: How a direction is found: the name of a method that gives directions (`learn.methods`).
        directions: Learned before (`learn_directions`), instead of from `learning`.
        blocks: The blocks to try, negative numbers counted from the last; None leaves them to the search.
        strengths: Multiples of what the instruction does; for an exclusion they go against its inclusion's.
        methods: Ways to apply a direction; both by default.
        tokens: Which tokens the steering acts on.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Which phrasings meet which queries.
        progress: See `trimtab.progress.Progress`.
        **options: Further options of `tune.search`, such as `facts`, `baseline` and `max_new_tokens`.

    Returns:
        The steering, the directions, and what was tried.

    Raises:
        PromptError: There are no queries.
        ModelError: There is no such block.
        SteeringError: There is nothing to try.
    """
    engine, instruction = as_engine(model), resolve(instruction)
    learning, validation = query_list(learning, "learning"), query_list(validation, "validation")
    if directions is None:
        directions = learn_directions(
            engine,
            instruction,
            learning,
            method=method,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
        )
    sign = learn.learning_source(instruction).sign
    blocks = None if blocks is None else engine.block_numbers(blocks)
    strengths = None if strengths is None else [sign * one for one in strength_list(strengths)]
    methods = (
        APPLICATIONS if methods is None else arguments.listed(methods, "methods", "words", SteeringError)
    )
    if blocks and strengths and not validation and len(blocks) == len(strengths) == len(methods) == 1:
        own = directions.standing_for(instruction.label, instruction.to_dict())
        return Vector(own.steering(methods[0], blocks[0], strengths[0], tokens), directions)
    tuned = search(
        engine,
        directions,
        instruction,
        validation,
        blocks=blocks,
        strengths=strengths,
        methods=methods,
        tokens=tokens,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
        **options,
    )
    return Vector(tuned.steering, directions, tuned)
