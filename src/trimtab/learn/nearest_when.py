"""The condition of CAST that is nearest to another `when`: what its files are given.

The other one decides on some prompts; a condition that CAST's code can compare (`Cast`) is learned from those verdicts,
as `trimtab.learn.when` learns from examples. What is lost are the prompts on which the two differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab import arguments
from trimtab.engines import as_engine
from trimtab.engines.deciding import holds
from trimtab.engines.given import prompt_list
from trimtab.errors import PromptError, SteeringError
from trimtab.learn.resembling import when as learn_when
from trimtab.steering.when import When

if TYPE_CHECKING:
    from trimtab.engines.base import Model, Prompt

__all__ = ["NearestWhen", "nearest_when"]

_FEWEST = 4


@dataclass(frozen=True)
class NearestWhen:
    """A condition of CAST, and how often it decides as another one.

    Attributes:
        when: It: a `Cast`, or one turned round.
        alike: On how many of the prompts to judge by both decide alike.
        held: For how many of those the other one holds.
        judged: How many those are.
    """

    when: When
    alike: int
    held: int
    judged: int


def nearest_when(
    model: Model,
    when: When,
    prompts: Sequence[Prompt],
    judged: Sequence[Prompt],
    *,
    blocks: Sequence[int] | None = None,
    batch_size: int | None = None,
) -> NearestWhen:
    """Learn a condition of CAST from the verdicts of another `when`.

    Args:
        model: An engine, or a model of transformers with its tokenizer: `(model, tokenizer)`.
        when: The other one.
        prompts: What it is learned from; the other one must hold for at least four, and not hold for as many.
        judged: Other prompts, on which the two are compared.
        blocks: Blocks that may be read; all by default.
        batch_size: Prompts per forward pass; the engine chooses by default.

    Raises:
        PromptError: There are too few prompts of a kind.
        SteeringError: No block tells the two kinds apart.
    """
    engine, prompts, judged = as_engine(model), prompt_list(prompts), prompt_list(judged, "judged")
    arguments.instance(when, "when", When, "a When (learn.when, trimtab.when)", SteeringError)
    if blocks is not None:
        engine.block_numbers(blocks)
    verdicts = holds(engine.capture, when, prompts, batch_size)
    steer, leave = (
        list({repr(one): one for one, held in zip(prompts, verdicts, strict=True) if held is wanted}.values())
        for wanted in (True, False)
    )
    if min(len(steer), len(leave)) < _FEWEST:
        raise PromptError(
            f"of {len(prompts)} prompts it acts on {len(steer)}, and a condition of CAST is learned from at least "
            f"{_FEWEST} on which it acts and {_FEWEST} on which it does not; give prompts of both kinds (--queries, "
            "--pairs)"
        )
    found = learn_when(engine, steer, leave, blocks=blocks, compare="cast", batch_size=batch_size)
    before = holds(engine.capture, when, judged, batch_size)
    after = holds(engine.capture, found, judged, batch_size)
    alike = sum(one == other for one, other in zip(before, after, strict=True))
    return NearestWhen(found, alike, sum(before), len(judged))
