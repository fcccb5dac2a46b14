"""The demonstration: learn and measure a list of instructions on one model, and report what came of it.

Every instruction is learned twice: as distilled edits, and as the mean difference with the block and strength that a
search finds for it. Three disjoint sets of queries, each with phrasings of its own: the first is learned on, the second
ends the training and chooses block and strength, and only the third, which had no say in either, is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trimtab import learn, prompts, tune
from trimtab.demo.demonstration import Demonstration, Outcome
from trimtab.demo.plan import Plan
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import TrimtabError
from trimtab.learn.distillation.lessons import TooFewAnswersError
from trimtab.measure.quality import FactCheck
from trimtab.measure.responses import Response, respond, respond_baseline
from trimtab.measure.rows import evaluate_instruction, judge, with_test
from trimtab.progress import Progress
from trimtab.report.search import search_map

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.instructions import Instruction
    from trimtab.prompts.queries import Split
    from trimtab.steering.steering import Steering

OnStep = Callable[[int, str], None]
"""`(steps finished since the last call, what begins now)`."""


def run(
    engine: Engine,
    plan: Plan,
    *,
    facts: FactCheck | None = None,
    queries: Callable[[Split, int], Sequence[str]] | None = None,
    on_step: OnStep | None = None,
    distilling: Progress = False,
) -> Demonstration:
    """Learns, tunes and measures every instruction of a plan.

    Args:
        engine: The model.
        plan: What to do.
        facts: Judges the truth of a response to a query; None leaves facts out.
        queries: `(split, n) -> n queries`; None takes the model's default queries.
        on_step: Told when a step ends and another begins, `plan.steps` of them.
        distilling: Told of every step of a distillation; see `trimtab.progress.Progress`.

    Returns:
        What was measured.

    Raises:
        TrimtabError: There are too few queries, two splits share one, or an instruction cannot be learned.
    """

    def default(split: Split, n: int) -> Sequence[str]:
        return prompts.default_queries(engine.identity, split, n, plan.seed)

    take = queries or default
    step: OnStep = on_step or (lambda finished, what: None)
    learning = list(take("learning", plan.pairs))
    validation = list(take("validation", plan.validation))
    test = list(take("test", plan.test))
    _check_disjoint(learning, validation, test)

    demonstration = Demonstration(engine.identity, plan)
    step(0, "answering without any instruction")
    with demonstration.timed("baseline"):
        answered = respond_baseline(
            engine,
            [*validation, *test],
            facts=facts,
            max_new_tokens=plan.max_new_tokens,
            batch_size=plan.batch_size,
        )
    unsteered, baseline = answered[: len(validation)], answered[len(validation) :]
    gradients = isinstance(engine, TransformersEngine)
    for instruction in plan.instructions:
        label = instruction.label
        distilled = None
        if gradients:
            step(1, f"{label}: distilling")
            try:
                with demonstration.timed("distill"):
                    distilled = learn.distill(
                        engine,
                        learning,
                        instruction,
                        validation=validation,
                        pool=None if queries is None else (),
                        schedule=learn.Schedule(steps=plan.training_steps),
                        max_new_tokens=plan.max_new_tokens,
                        progress=distilling,
                        seed=plan.seed,
                    ).steering
            except TooFewAnswersError as error:
                demonstration.not_distilled[label] = str(error)
        step(1 if gradients else 2, f"{label}: learning the mean difference")
        with demonstration.timed("learn"):
            # An exclusion is learned from its inclusion, and applied with negative strength.
            source = learn.learning_source(instruction).instruction
            pairs = prompts.make_pairs(learning, source, "learning", seed=plan.seed)
            directions = learn.mean_difference(engine, pairs, source, batch_size=plan.batch_size)
        step(1, f"{label}: choosing block and strength")
        with demonstration.timed("search"):
            tuned = _search(engine, directions, instruction, unsteered, plan, facts)
        step(1, f"{label}: measuring")
        with demonstration.timed("test"):
            demonstration.outcomes.append(
                _measure(engine, instruction, distilled, tuned, test, baseline, plan, facts)
            )
    step(1, "writing the report")
    return demonstration


def _search(
    engine: Engine,
    directions: learn.Directions,
    instruction: Instruction,
    unsteered: Sequence[Response],
    plan: Plan,
    facts: FactCheck | None,
) -> tune.Tuned:
    sign = learn.learning_source(instruction).sign
    return tune.search(
        engine,
        directions,
        instruction,
        [response.query for response in unsteered],
        blocks=plan.blocks,
        strengths=None if plan.strengths is None else [sign * strength for strength in plan.strengths],
        baseline=unsteered,
        facts=facts,
        max_new_tokens=plan.max_new_tokens,
        batch_size=plan.batch_size,
        seed=plan.seed,
    )


def _measure(
    engine: Engine,
    instruction: Instruction,
    distilled: Steering | None,
    tuned: tune.Tuned,
    test: Sequence[str],
    baseline: Sequence[Response],
    plan: Plan,
    facts: FactCheck | None,
) -> Outcome:
    options: dict[str, Any] = {
        "facts": facts,
        "max_new_tokens": plan.max_new_tokens,
        "batch_size": plan.batch_size,
    }
    steering = distilled or tuned.steering
    rows = evaluate_instruction(
        engine, instruction, steering, test, split="test", baseline=baseline, seed=plan.seed, **options
    )
    vector, vector_row = None, None
    if distilled is not None:
        answers = respond(engine, test, test, steering=tuned.steering, **options)
        vector_row = judge(instruction, "steered", tuned.steering.record.method, answers)
        vector = with_test(tuned.steering, [vector_row])
    return Outcome(
        instruction,
        with_test(steering, rows),
        tuple(rows),
        vector,
        vector_row,
        search_map(instruction, tuned),
    )


def _check_disjoint(*parts: Sequence[str]) -> None:
    seen: set[str] = set()
    for part in parts:
        if shared := seen & set(part):
            raise TrimtabError(
                f"the query {min(shared)!r:.60} is in two of the learning, validation and test queries; "
                "what is measured must not have been learned from, so give each its own"
            )
        seen |= set(part)
