"""Distillation: edits that make the model without the instruction answer as the model with it does.

Learned are gated rank-one edits (one per chosen block, all together), which minimise over the teacher's own answers y
to prompts x

    sum_t KL( p(. | instructed x, y_<t)  ||  p_edits(. | x, y_<t) )

where only the answers that pass the instruction's check are learned from (`lessons`), and part of them is given to
prompts that hold the instruction, or another one, already. The loss follows G. Hinton, O. Vinyals, J. Dean
(Distilling the Knowledge in a Neural Network, 2015); moving a prompt into weights by it is context distillation (C.
Snell, D. Klein, R. Zhong: Learning by Distilling Context, 2022); keeping only verified samples is rejection sampling
(E. Zelikman et al.: STaR, 2022). Here a few vectors hold the prompt, and the model's weights stay as they are.

The edits begin as the mean difference shared out among the blocks, with gates that are shut. How many blocks and how
many edits in each is chosen on validation queries, few first: a larger set is tried, beginning with what was learned,
only while the smaller one follows less often than the instructed model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trimtab import prompts
from trimtab.engines.ranks import Ranks
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError, PromptError, SteeringError
from trimtab.learn.distillation.distilled import Distilled, Trial, made_steering
from trimtab.learn.distillation.lesson_files import kept_lessons, kept_queries
from trimtab.learn.distillation.lessons import check_learnable, companions, gather
from trimtab.learn.distillation.schedule import OnStep, Schedule
from trimtab.learn.distillation.sizes import sizes_to_try
from trimtab.learn.distillation.targets import Targets
from trimtab.learn.distillation.tempting import tempting_queries
from trimtab.learn.distillation.trainable import Form, TrainableEdits
from trimtab.learn.distillation.training import Course
from trimtab.learn.mean_difference import mean_difference
from trimtab.measure.responses import verdicts
from trimtab.steering.steering import Record, Steering

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.steering.edits import Edit, TokenScope

OnStage = Callable[[str], None]

# A set of edits is large enough if it follows at most so much less often than the instructed model: of the usual 24
# validation queries, one.
_TOLERANCE = 0.05


def distill(
    engine: Engine,
    queries: Sequence[str],
    instruction: Instruction | Sequence[Instruction],
    *,
    validation: Sequence[str] | None = None,
    pool: Sequence[str] | None = None,
    blocks: Sequence[int] | None = None,
    rank: int | None = None,
    form: Form = "gated",
    tokens: TokenScope = "all",
    start: Steering | None = None,
    schedule: Schedule | None = None,
    phrasings: int = 1,
    instructed: float = 0.35,
    other: float = 0.3,
    others: Sequence[Instruction] | None = None,
    max_new_tokens: int = 192,
    gradient_checkpointing: bool = False,
    checkpoint: str | Path | None = None,
    on_step: OnStep | None = None,
    on_stage: OnStage | None = None,
    seed: int = 0,
) -> Distilled:
    """Learn edits that make the model follow instructions which its prompt does not hold.

    Under `torchrun` or `accelerate launch` all processes call this alike; they share the work and all return the same.

    Args:
        engine: The model; it must be a `TransformersEngine`, as gradients pass through it.
        queries: Base queries to learn on, without the instruction.
        instruction: What shall be followed; several are learned to be followed at once.
        validation: Other queries, to end the training and choose the number of edits by; 24 of the model's own by
            default.
        pool: More base queries. Where the model mostly follows by itself (a word to avoid), those on which it does not
            are looked for in them and take the place of others; 512 of the model's own by default, () for none.
        blocks: The blocks to edit; chosen on validation by default.
        rank: Edits per block; chosen on validation by default.
        form: `gated`, or for comparison `vector` or `loreft`.
        tokens: Which tokens the edits act on.
        start: Edits to begin with; their blocks, rank and scope are kept. They also help the instructed model where it
            fails by itself.
        schedule: Steps, rates and batch size.
        phrasings: In how many wordings every query is answered.
        instructed: Lessons whose prompt holds the instruction already, for each plain one.
        other: Lessons whose prompt holds another instruction, for each query.
        others: Which other instructions; some common ones that can go together with it by default.
        max_new_tokens: Longest answer, in tokens.
        gradient_checkpointing: Spend time to save memory: compute activations again in the backward pass.
        checkpoint: A folder to save lessons and states in, and to resume from.
        on_step: Told of every step.
        on_stage: Told what begins.
        seed: Chooses wordings, samples and the order of lessons; it takes the place of the schedule's.

    Returns:
        The steering, and how it came about.

    Raises:
        PromptError: There are no queries, queries are shared with validation, or too few answers pass.
        ModelError: The engine cannot give gradients, or a block does not exist.
        SteeringError: A setting makes no sense, an instruction has no check, or two contradict each other.
    """
    if not isinstance(engine, TransformersEngine):
        raise ModelError(
            f"distillation needs gradients, which a {type(engine).__name__} has none of; load it with trimtab.load"
        )
    if isinstance(instruction, str):  # type: ignore[unreachable]  # users do that
        raise SteeringError(
            f"an instruction is made by trimtab.instructions.get({instruction!r}), not given by name"
        )
    wanted = list(instruction) if isinstance(instruction, Sequence) else [instruction]
    check_learnable(wanted)
    if not phrasings >= 1:
        raise SteeringError(f"phrasings of a distillation must be at least 1, not {phrasings!r}")
    for name, share in (("instructed", instructed), ("other", other)):
        if not 0 <= share <= 1:
            raise SteeringError(f"{name} of a distillation is a share between 0 and 1, not {share!r}")
    held_out = _validation(engine, queries, validation, seed)
    sizes = sizes_to_try(engine, blocks, rank, form, start)
    schedule = replace(schedule or Schedule(), seed=seed)
    ranks = Ranks()
    tell = on_stage or (lambda what: None)
    folder = None if checkpoint is None else Path(checkpoint)

    label = " and ".join(one.label for one in wanted)
    tell(f"{label}: answering as instructed")
    pool = (
        _pool(engine, held_out, seed) if pool is None else [one for one in pool if one not in set(held_out)]
    )
    others = companions(wanted) if others is None else others
    asked: list[Any] = [
        engine.identity,
        wanted,
        queries,
        pool,
        held_out,
        phrasings,
        instructed,
        others,
        other,
    ]
    asked += [max_new_tokens, seed, None if start is None else start.digest()]
    asked = [_plain(one) for one in asked]
    queries = kept_queries(
        folder and folder / "queries.json",
        asked,
        ranks,
        partial(
            tempting_queries,
            engine,
            queries,
            pool,
            wanted,
            max_new_tokens=max_new_tokens,
            ranks=ranks,
            seed=seed,
        ),
    )
    ask = partial(
        gather,
        engine,
        instructions=wanted,
        helper=start,
        max_new_tokens=max_new_tokens,
        ranks=ranks,
        seed=seed,
        on_round=lambda done, of: tell(f"{label}: {done} of {of} answered as instructed"),
    )
    lessons = kept_lessons(
        folder and folder / "lessons.json",
        asked,
        ranks,
        partial(
            ask,
            queries,
            split="learning",
            phrasings=phrasings,
            instructed=instructed,
            others=others,
            other=other,
        ),
    )
    examples = kept_lessons(
        folder and folder / "validation.json",
        asked,
        ranks,
        partial(ask, held_out, split="validation", least=0),
    )

    scales = _scales(engine, queries)
    difference = None if start is not None else _differences(engine, queries, wanted, seed)
    targets: dict[int, Targets] = {}
    trials: list[Trial] = []
    outcomes: list[tuple[Edit, ...]] = []
    for number, size in enumerate(sizes):
        tell(f"{label}: learning edits in {len(size.blocks)} blocks")
        if difference is None or start is not None:
            edits = TrainableEdits.of(() if start is None else start.edits, scales)
        else:
            starts = {block: difference[block] / len(size.blocks) for block in size.blocks}
            edits = TrainableEdits(scales, starts, form=form, rank=size.rank, tokens=tokens, seed=seed)
            if outcomes and form == "gated":
                edits.grow(outcomes[-1])
        course = Course(engine, edits, lessons.lessons, examples.lessons, schedule, ranks, targets=targets)
        course.run(on_step, None if folder is None else folder / str(number), gradient_checkpointing)
        outcomes.append(edits.edits())
        trial = Steering("trial", outcomes[-1], Record(engine.identity))
        passed = verdicts(
            engine, held_out, wanted, steering=trial, max_new_tokens=max_new_tokens, ranks=ranks
        )
        followed = sum(passed) / len(passed)
        held_out_loss = course.best if examples.lessons else None
        trials.append(Trial(size, tuple(course.history), held_out_loss, followed))
        if followed >= examples.first_time - _TOLERANCE:
            break
    best = max(range(len(trials)), key=lambda one: (trials[one].followed, -(trials[one].held_out or 0.0)))
    steering = made_steering(
        engine.identity,
        wanted,
        outcomes[best],
        trials[best],
        lessons,
        examples.first_time,
        schedule,
        form,
        queries,
        len(held_out),
    )
    return Distilled(steering, tuple(trials), lessons, examples.first_time)


def _validation(
    engine: TransformersEngine, queries: Sequence[str], validation: Sequence[str] | None, seed: int
) -> list[str]:
    if not queries:
        raise PromptError("there are no queries to learn on; give at least one")
    if validation is None:
        return prompts.default_queries(engine.identity, "validation", 24, seed)
    if not validation:
        raise PromptError("there are no validation queries; give at least one, or None for the model's own")
    if shared := set(queries) & set(validation):
        raise PromptError(
            f"the query {min(shared)!r:.60} is among those to learn on and those to validate with; they must differ"
        )
    return list(validation)


def _pool(engine: TransformersEngine, held_out: Sequence[str], seed: int) -> list[str]:
    """At most 512 of the model's own base queries, none of which is held out."""
    known = set(held_out)
    found = [query for query in prompts.default_queries(engine.identity, "learning") if query not in known]
    return prompts.sample_queries(found, min(512, len(found)), seed)


def _plain(value: Any) -> Any:
    """As JSON, for what has a `to_dict`, alone or in a list."""
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value.to_dict() if hasattr(value, "to_dict") else value


def _scales(engine: TransformersEngine, queries: Sequence[str]) -> dict[int, float]:
    """Root mean square of a coordinate of each block's output."""
    some = engine.capture(queries[:8], positions="all", keep=True)
    if some.activations is None:
        raise ModelError("the engine kept no activations")
    scales = some.activations.pow(2).mean((0, 2)).sqrt().clamp(min=1e-6)
    return dict(enumerate(scales.tolist()))


def _differences(
    engine: TransformersEngine, queries: Sequence[str], wanted: Sequence[Instruction], seed: int
) -> Tensor:
    """The mean difference of each block, `[L, d]`."""
    total = torch.zeros(engine.identity.blocks, engine.identity.width)
    for instruction in wanted:
        pairs = prompts.make_pairs(queries, instruction, "learning", seed)
        found = mean_difference(engine, pairs, instruction)
        total += found.directions * found.difference_norm[:, None]
    return total
