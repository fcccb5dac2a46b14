"""Distillation: edits that make the model without the instruction answer as the model with it does.

Learned are gated rank-one edits (one per chosen block, all together), which minimise over the teacher's own answers y
to prompts x

    sum_t KL( p(. | instructed x, y_<t)  ||  p_edits(. | x, y_<t) )

where only the answers that pass the instruction's check are learned from (`gathering`), and part of them is given to
prompts that hold the instruction, or another one, already. A model that follows too seldom when it is told has other
teachers (`teachers`), of which one is chosen (`choosing`). The loss follows G. Hinton, O. Vinyals, J. Dean
(Distilling the Knowledge in a Neural Network, 2015); moving a prompt into weights by it is context distillation (C.
Snell, D. Klein, R. Zhong: Learning by Distilling Context, 2022); keeping only verified samples is rejection sampling
(E. Zelikman et al.: STaR, 2022). Here a few vectors hold the prompt, and the model's weights stay as they are.

The edits begin as the mean difference shared out among the blocks, or at zero where the teacher is not told, with gates
that are shut. How many blocks and how many edits in each is chosen on validation queries, few first: a larger set is
tried, beginning with what was learned, only while the smaller one follows less often than the instructed model, or
spoils the text. The one is kept that follows best within the bounds of quality (`examining`).

Where no instruction says what is to be learned, but prompt pairs do, or all is accepted and nobody can judge it,
nothing is checked: every answer that the model ends is a lesson, and the smallest set of edits is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trimtab import instructions
from trimtab.engines import as_engine
from trimtab.engines.ranks import Ranks
from trimtab.errors import SteeringError
from trimtab.learn.distillation.distilled import SLACK, Distilled, Trial, made_steering, name_of
from trimtab.learn.distillation.dividing import divided, pool_of
from trimtab.learn.distillation.examining import Examination
from trimtab.learn.distillation.gathering import FEWEST, TooFewAnswersError
from trimtab.learn.distillation.given import asked_for, check_options
from trimtab.learn.distillation.learnable import Accept, check_learnable, companions
from trimtab.learn.distillation.material import Finding, targets_of
from trimtab.learn.distillation.schedule import Schedule
from trimtab.learn.distillation.sizes import sizes_to_try
from trimtab.learn.distillation.tasks import Task, told_pairs
from trimtab.learn.distillation.teachers import Teacher
from trimtab.learn.distillation.trainable import Form, TrainableEdits
from trimtab.learn.distillation.training import Course, Watch, scales_of, trainable_engine
from trimtab.learn.mean_difference import mean_difference
from trimtab.measure.responses import all_follow
from trimtab.progress import Progress, part_of, prefixed, shown
from trimtab.prompts.pairs import PromptPair, make_pairs
from trimtab.prompts.queries import query_list
from trimtab.steering.steering import Record, Steering

if TYPE_CHECKING:
    from trimtab.engines.base import Engine, Model
    from trimtab.instructions import Instruction
    from trimtab.measure.bounds import Bounds
    from trimtab.measure.quality import FactCheck
    from trimtab.measure.scorer import Scorer
    from trimtab.steering.edits import Edit, TokenScope

# A set of edits is large enough if it follows at most so much less often than the instructed model: of the usual 24
# validation queries, one.
_TOLERANCE = 0.05


def distill(
    model: Model,
    queries: Sequence[str] | Sequence[PromptPair],
    instruction: Instruction | str | Sequence[Instruction | str] | None = None,
    *,
    validation: Sequence[str] | Sequence[PromptPair] | None = None,
    pool: Sequence[str] | None = None,
    blocks: Sequence[int] | None = None,
    rank: int | None = None,
    form: Form = "gated",
    tokens: TokenScope = "all",
    start: Steering | None = None,
    teacher: Teacher | None = None,
    accept: Accept = "followed",
    schedule: Schedule | None = None,
    phrasings: int = 1,
    instructed: float = 0.35,
    other: float = 0.3,
    others: Sequence[Instruction | str] | None = None,
    max_new_tokens: int | None = None,
    gradient_checkpointing: bool = False,
    checkpoint: str | Path | None = None,
    bounds: Bounds | None = None,
    facts: FactCheck | None = None,
    scorer: Scorer | None = None,
    questions: int = 0,
    progress: Progress = False,
    watch: Watch | None = None,
    seed: int = 0,
) -> Distilled:
    """Learn edits that make the model follow instructions which its prompt does not hold.

    Under `torchrun` or `accelerate launch` all processes call this alike; they share the work and all return the same.

    Args:
        model: A model of transformers with its tokenizer, `(model, tokenizer)`, or a `TransformersEngine`: gradients
            pass through it.
        queries: Base queries to learn on, without the instruction. Or prompt pairs, whose `instructed` side is what the
            model is told, in place of phrasings of the instruction.
        instruction: What shall be followed, or its spelling; several are learned to be followed at once. None, with
            prompt pairs: whatever makes their two sides differ. That cannot be checked, so that every answer which the
            model ends is learned from.
        validation: Other queries (or pairs), to end the training and choose the number of edits by. By default 24 of
            the model's own that are not among those to learn on; of pairs, a fifth of those given.
        pool: More base queries. Where the model mostly follows by itself (a word to avoid), those on which it does not
            are looked for in them and take the place of others; 512 of the model's own by default, () for none.
        blocks: The blocks to edit; chosen on validation by default.
        rank: Edits per block; chosen on validation by default.
        form: `gated`, or for comparison `vector`, `loreft` or `psr`.
        tokens: Which tokens the edits act on.
        start: Edits to begin with; their blocks, rank and scope are kept. They also help the instructed model where it
            fails by itself.
        teacher: Where the answers to learn from come from; see `teachers`. Chosen by what each gives on a few
            validation queries by default. `steered` without a `start` learns from another teacher first.
        accept: Which answers become lessons: those that pass the checks and judges, or all to which the told model
            comes to an end. What an instruction without check and judge makes of answers is then learned unseen, and
            the smallest set of edits is taken.
        schedule: Steps, rates and batch size.
        phrasings: In how many wordings every query is answered.
        instructed: Lessons whose prompt holds the instruction already, for each plain one.
        other: Lessons whose prompt holds another instruction, for each query.
        others: Which other instructions; some common ones that can go together with it by default, none with pairs.
        max_new_tokens: Longest answer, in tokens; by default 192, 384 where many of the model's plain answers
            are longer, or 128 where most do not come to an end; see `lengths.limit_for`.
        gradient_checkpointing: Spend time to save memory: compute activations again in the backward pass.
        checkpoint: A folder to save lessons and states in, and to resume from.
        bounds: How much worse than plain answers those of the edits may be; the defaults when None.
        facts: Judges the truth of an answer to a query: facts lost count as quality lost; None leaves them out.
        scorer: Another model, whose perplexity and relevance count as quality; None leaves them out.
        questions: How many closed-book questions to ask plain and under each set of edits: what is forgotten counts
            as quality lost. A built-in model is asked none. On fewer than a hundred, much of it is chance.
        progress: See `trimtab.progress.Progress`; a step of training is told with its loss.
        watch: Is shown every step of training, and the edits so far (`Watch`).
        seed: Chooses wordings, samples and the order of lessons; it takes the place of the schedule's.

    Returns:
        The steering, and how it came about.

    Raises:
        PromptError: There are no queries, queries are shared with validation, or no teacher gives enough answers that
            pass.
        InstructionError: There is no such instruction.
        ModelError: The engine cannot give gradients, or a block does not exist.
        SteeringError: A setting makes no sense, an instruction has no check, two contradict each other, or the teacher
            that is asked for cannot teach this.
    """
    queries = asked_for(queries, "queries")
    validation = None if validation is None else asked_for(validation, "validation")
    pool = None if pool is None else query_list(pool, "pool")
    check_options(
        rank=rank,
        form=form,
        tokens=tokens,
        start=start,
        teacher=teacher,
        accept=accept,
        schedule=schedule,
        phrasings=phrasings,
        instructed=instructed,
        other=other,
        max_new_tokens=max_new_tokens,
        gradient_checkpointing=gradient_checkpointing,
        checkpoint=checkpoint,
        bounds=bounds,
        facts=facts,
        scorer=scorer,
        questions=questions,
        watch=watch,
        seed=seed,
    )
    if teacher == "steered" and start is None:
        first = distill(
            model,
            queries,
            instruction,
            validation=validation,
            pool=pool,
            blocks=blocks,
            rank=rank,
            form=form,
            tokens=tokens,
            accept=accept,
            schedule=schedule,
            phrasings=phrasings,
            instructed=instructed,
            other=other,
            others=others,
            max_new_tokens=max_new_tokens,
            gradient_checkpointing=gradient_checkpointing,
            checkpoint=None if checkpoint is None else Path(checkpoint) / "first",
            bounds=bounds,
            facts=facts,
            scorer=scorer,
            questions=questions,
            progress=progress,
            watch=watch,
            seed=seed,
        )
        start, blocks, rank = first.steering, None, None
    engine = trainable_engine(as_engine(model))
    wanted = [] if instruction is None else instructions.resolve_all(instruction)
    paired = any(isinstance(query, PromptPair) for query in queries)
    if instruction is not None or not paired:
        check_learnable(wanted, accept)
    if accept == "all" and teacher not in (None, "told"):
        raise SteeringError(f"all answers are accepted of the told model alone, and the teacher is {teacher}")
    if paired and (pool or others or phrasings > 1):
        raise SteeringError("prompt pairs are learned from as they are: leave out pool, others and phrasings")
    learning, held_out = divided(engine.identity, queries, validation, seed)
    if len(learning) * phrasings < FEWEST:
        raise TooFewAnswersError(
            f"a distillation learns from {FEWEST} answers that pass or more, and here are {len(learning) * phrasings} "
            "questions; give more queries (--pairs), at least 8 as not every answer passes"
        )
    sizes = sizes_to_try(engine, blocks, rank, form, start)
    schedule = replace(schedule or Schedule(), seed=seed)
    ranks = Ranks()
    folder = None if checkpoint is None else Path(checkpoint)
    measurable = wanted if all(one.can_check for one in wanted) else []
    if accept == "all" and not paired:
        if others:
            raise SteeringError(
                "where all answers are accepted there are no other instructions; leave out others"
            )
        learning = told_pairs(learning, wanted, "learning", seed, phrasings)
        held_out = told_pairs(held_out, wanted, "validation", seed)
        paired, phrasings = True, 1
    if paired:
        pool, others = (), ()
    elif pool is None:
        pool = pool_of(engine.identity, held_out, seed)
    else:
        pool = [one for one in pool if one not in set(held_out)]
    others = companions(wanted) if others is None else instructions.resolve_all(others)

    with shown(progress if progress is not True else ranks.is_first) as tell:
        tell = prefixed(tell, name_of(wanted))
        passing = wanted if accept == "followed" else []
        material = Finding(engine, passing, ranks, seed, tell, teacher, start, max_new_tokens, folder).find(
            learning,
            held_out,
            paired=paired,
            pool=pool,
            phrasings=phrasings,
            instructed=instructed,
            others=others,
            other=other,
        )
        if measurable and accept == "all":
            told = material.asking.greedily([pair.instructed for pair in held_out])
            right = all_follow([one.text for one in told], [pair.query for pair in held_out], wanted)
            material = replace(material, judged=sum(right) / len(right))
        learning, lessons, examples = material.queries, material.lessons, material.examples

        pairs = [learning] if paired else [make_pairs(learning, one, "learning", seed) for one in wanted]
        scales = scales_of(engine, [pair.plain for pair in pairs[0]])
        # What telling changes leads away from what a teacher says that is not told.
        as_told = start is None and material.teacher in ("told", "told+constrained")
        shape = engine.identity.blocks, engine.identity.width
        difference = _difference(engine, pairs) if as_told else torch.zeros(shape)
        examination = Examination(
            engine,
            [Task.of(one) for one in held_out],
            measurable,
            examples.lessons,
            asking=material.asking,
            bounds=bounds,
            facts=facts,
            scorer=scorer,
            questions=questions,
            ranks=ranks,
        )
        targets = targets_of(engine, material, schedule, ranks, start)
        trials: list[Trial] = []
        outcomes: list[tuple[Edit, ...]] = []
        settled: list[Schedule] = []
        for number, size in enumerate(sizes):
            if start is not None:
                edits = TrainableEdits.of(start.edits, scales)
            else:
                starts = {block: difference[block] / len(size.blocks) for block in size.blocks}
                edits = TrainableEdits(scales, starts, form=form, rank=size.rank, tokens=tokens, seed=seed)
                if outcomes and form == "gated":
                    edits.grow(outcomes[-1])
            course = Course(
                engine, edits, lessons.lessons, examples.lessons, schedule, ranks, targets=targets
            )
            course.run(
                tell,
                f"learning {edits.size} edits in {len(size.blocks)} blocks",
                folder=folder and folder / str(number),
                checkpointing=gradient_checkpointing,
                watch=watch,
            )
            outcomes.append(edits.edits())
            settled.append(course.pace.settled)
            found = None
            if measurable:
                stage = f"measuring {edits.size} edits"
                tell(stage, 0)
                material.asking.tell = part_of(tell, stage)
                found = examination.examine(Steering("trial", outcomes[-1], Record(engine.identity)))
            trial = Trial(
                size,
                tuple(course.history),
                course.best if examples.lessons else None,
                None if found is None else found.followed,
                None if found is None else found.comparison,
            )
            trials.append(trial)
            enough = material.enough - _TOLERANCE
            if trial.followed is None or (trial.followed >= enough and trial.excess <= SLACK):
                break
    best = max(range(len(trials)), key=lambda one: trials[one].merit)
    steering = made_steering(
        engine.identity,
        wanted,
        outcomes[best],
        trials[best],
        material,
        settled[best],
        form,
        pairs,
        (len(learning), len(held_out)),
        examination.baseline_followed if measurable else None,
        accept,
    )
    told_followed = material.told_followed if measurable else None
    return Distilled(steering, tuple(trials), lessons, told_followed, material.choice)


def _difference(engine: Engine, pairs: Sequence[Sequence[PromptPair]]) -> Tensor:
    """The mean difference of each block, `[L, d]`, summed over the instructions."""
    total = torch.zeros(engine.identity.blocks, engine.identity.width)
    for one in pairs:
        found = mean_difference(engine, one)
        total += found.directions * found.difference_norm[:, None]
    return total
