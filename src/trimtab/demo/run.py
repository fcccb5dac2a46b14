"""Learning, then the suite: every instruction of a plan is learned, and what was learned is measured on one suite.

Every instruction is learned as distilled edits and, where the plan has it so, as the mean difference with the block and
strength that a search finds for it. Three disjoint sets of queries, each with phrasings of its own: the first is
learned on, the second ends the training and chooses block and strength, and only the third, which had no say in either,
is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from trimtab import arguments, learn, prompts, tune
from trimtab.demo.demonstration import Demonstration, Learned
from trimtab.demo.plan import Plan
from trimtab.engines import Model, TransformersEngine, as_engine
from trimtab.errors import SteeringError, TrimtabError
from trimtab.evaluate import suites
from trimtab.evaluate.cache import ContentCache
from trimtab.evaluate.run import evaluate_suite
from trimtab.learn.distillation.gathering import TooFewAnswersError
from trimtab.measure.quality import FactCheck
from trimtab.measure.responses import Response, respond_baseline
from trimtab.measure.rows import ALL_CONDITIONS, CONDITIONS
from trimtab.measure.scorer import Scorer
from trimtab.progress import Progress, Tell, shown
from trimtab.prompts.queries import Drawn
from trimtab.report.search import search_map

if TYPE_CHECKING:
    from trimtab.engines.base import Engine
    from trimtab.evaluate.results import Evaluation
    from trimtab.instructions import Instruction
    from trimtab.steering.steering import Steering


def run(
    model: Model,
    plan: Plan,
    *,
    facts: FactCheck | None = None,
    scorer: Scorer | None = None,
    queries: Drawn | None = None,
    progress: Progress = False,
) -> Demonstration:
    """Learns, tunes and measures every instruction of a plan.

    Args:
        model: An engine, or a model of transformers and its tokenizer.
        plan: What to do.
        facts: Judges the truth of a response to a query; None leaves facts out.
        scorer: Another model, which scores the answers to the test queries; None leaves it out.
        queries: To learn from, to choose on and to measure on; None draws the model's default queries as planned.
        progress: See `trimtab.progress.Progress`.

    Returns:
        What was learned and measured.

    Raises:
        TrimtabError: There are too few queries, two splits share one, or an instruction cannot be learned.
    """
    engine = as_engine(model)
    arguments.instance(plan, "plan", Plan, "a Plan (demo.plan_for makes one)", SteeringError)
    if facts is not None:
        arguments.function(facts, "facts", "a function of query and response, or None", SteeringError)
    if scorer is not None:
        arguments.instance(scorer, "scorer", Scorer, "a Scorer, or None", SteeringError)
    if queries is not None:
        arguments.instance(
            queries, "queries", Drawn, "what prompts.draw_queries draws, or None", SteeringError
        )
    drawn = queries or prompts.draw_queries(
        engine.identity,
        learning=plan.pairs,
        validation=plan.validation,
        test=plan.test,
        seed=plan.seed,
    )
    _check_disjoint(drawn.learning, drawn.validation, drawn.test)
    found = Demonstration(engine.identity, plan)
    with shown(progress) as tell:

        @cache
        def unsteered() -> list[Response]:
            tell("answering without any instruction", 0)
            with found.timed("baseline"):
                return respond_baseline(
                    engine,
                    drawn.validation,
                    facts=facts,
                    max_new_tokens=plan.max_new_tokens,
                    batch_size=plan.batch_size,
                )

        if plan.vector:
            unsteered()
        for instruction in plan.instructions:
            _learn(engine, instruction, found, drawn, unsteered, facts, tell, own_queries=queries is not None)
        with found.timed("test"):
            _measure(engine, found, drawn.test, facts, scorer, tell)
    return found


def _learn(
    engine: Engine,
    instruction: Instruction,
    found: Demonstration,
    drawn: Drawn,
    unsteered: Callable[[], Sequence[Response]],
    facts: FactCheck | None,
    tell: Tell,
    *,
    own_queries: bool,
) -> None:
    """Adds what is learned of an instruction to what was found."""
    plan = found.plan
    distilled = None
    if isinstance(engine, TransformersEngine):
        try:
            with found.timed("distill"):
                distilled = learn.distill(
                    engine,
                    drawn.learning,
                    instruction,
                    validation=drawn.validation,
                    pool=(drawn.pool or ()) if own_queries else None,
                    schedule=None
                    if plan.training_steps is None
                    else learn.Schedule(steps=plan.training_steps),
                    rank=plan.rank,
                    max_new_tokens=plan.max_new_tokens,
                    facts=facts,
                    progress=tell,
                    seed=plan.seed,
                ).steering
        except TooFewAnswersError as error:
            found.not_distilled[instruction.label] = str(error)
    if distilled is not None and not plan.vector:
        found.learned.append(Learned(instruction, distilled, None, None))
        return
    with found.timed("learn"):
        directions = tune.learn_directions(
            engine,
            instruction,
            drawn.learning,
            batch_size=plan.batch_size,
            seed=plan.seed,
            progress=tell,
        )
    baseline = unsteered()
    tell(f"{instruction.label}: choosing block and strength", 0)
    with found.timed("search"):
        vector = tune.make_vector(
            engine,
            instruction,
            drawn.learning,
            drawn.validation,
            directions=directions,
            blocks=plan.blocks,
            strengths=plan.strengths,
            baseline=baseline,
            facts=facts,
            max_new_tokens=plan.max_new_tokens,
            batch_size=plan.batch_size,
            seed=plan.seed,
            progress=tell,
        )
    search = None if vector.tuned is None else search_map(instruction, vector.tuned)
    beside = None if distilled is None else vector.steering
    found.learned.append(Learned(instruction, distilled or vector.steering, beside, search))


def _measure(
    engine: Engine,
    found: Demonstration,
    test: Sequence[str],
    facts: FactCheck | None,
    scorer: Scorer | None,
    tell: Tell,
) -> None:
    """Measures what was learned on the test queries, and notes it in the records of the steerings."""
    plan = found.plan
    suite = suites.from_queries("the test questions", test, plan.instructions, seed=plan.seed)
    cache = ContentCache()

    def evaluated(steerings: dict[Instruction, Steering], **options: Any) -> Evaluation:
        return evaluate_suite(
            engine,
            suite,
            steerings,
            cache=cache,
            facts=facts,
            scorer=scorer,
            max_new_tokens=plan.max_new_tokens,
            batch_size=plan.batch_size,
            progress=tell,
            **options,
        )

    found.scorer = None if scorer is None else scorer.engine.identity
    found.evaluation = evaluated(
        {one.instruction: one.steering for one in found.learned},
        conditions=ALL_CONDITIONS if plan.constrained else CONDITIONS,
        questions=plan.facts,
    )
    vectors = {one.instruction: one.vector for one in found.learned if one.vector is not None}
    if vectors:
        found.beside = evaluated(vectors, conditions=("steered",))
    found.learned = [
        one.measured(
            [row for row in found.rows if row.label == one.instruction.label],
            [row for row in found.vector_rows if row.label == one.instruction.label],
        )
        for one in found.learned
    ]


def _check_disjoint(*parts: Sequence[str]) -> None:
    seen: set[str] = set()
    for part in parts:
        if shared := seen & set(part):
            raise TrimtabError(
                f"the query {min(shared)!r:.60} is in two of the learning, validation and test queries; "
                "what is measured must not have been learned from, so give each its own"
            )
        seen |= set(part)
