"""Answers that are checked: generate, check, and try again where the check fails, harder each time.

Every round of attempts is one batch over the rows that have no verified answer yet, so that a prompt that is answered
well at once costs no more than generating does. What an attempt may add, in this order: more strength, the instruction
in the prompt, sampling, and last a constraint. An answer is called verified if it was checked, as it is, and passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from trimtab import arguments
from trimtab.engines import as_engine
from trimtab.engines.base import Generation, Model
from trimtab.engines.chat import beginning
from trimtab.engines.decoding import Settings
from trimtab.engines.given import prompt_list
from trimtab.errors import InstructionError, ModelError, PromptError, SteeringError
from trimtab.following.attempts import Attempt, Followed, best
from trimtab.following.plan import Step, plan
from trimtab.following.wanted import Wanted, wanted_of, with_words
from trimtab.instructions import Instruction
from trimtab.instructions.together import constraint_of
from trimtab.progress import Progress, prefixed, shown
from trimtab.steering.when.base import prompt_text

if TYPE_CHECKING:
    from trimtab.constraint import Constraint
    from trimtab.engines.base import Engine, Prompt
    from trimtab.steering.steering import Steering

STRENGTHS = (1.0, 1.5, 2.0)
"""Multiples of the steering that are tried, in order."""

Accept = Callable[[str, str], bool]
"""`(query, response) -> whether it will do`, asked of responses that pass the check."""

_TEMPERATURE = 0.8


def follow(
    model: Model,
    prompts: Sequence[Prompt],
    instructions: Wanted | Sequence[Wanted] | Sequence[Sequence[Wanted]] | None = None,
    *,
    steering: Steering | Sequence[Steering | None] | None = None,
    budget: int = 8,
    strengths: Sequence[float] = STRENGTHS,
    constrain: bool | None = None,
    accept: Accept | None = None,
    max_new_tokens: int = 256,
    temperature: float | None = _TEMPERATURE,
    top_p: float | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    progress: Progress = False,
) -> list[Followed]:
    """Answer prompts so that their instructions are followed, and say for each whether they are.

    A row is tried, until an answer of its passes: steered at each of the strengths; steered at the first strength
    with the instruction in the prompt; told without steering; then both of these in turn, sampled, the instruction in
    another phrasing each time. A row that has no steering, or one that does not act on it, starts with the plain prompt
    instead. All is greedy but the sampled attempts, and those are repeatable by `seed`.

    The last attempt of a budget of two or more is held to the constraint of the instructions, where all of them have
    one: steered at the first strength, or plain, and not told. It follows by force, which costs text; but short of an
    answer that the limit of tokens cuts off, it follows.

    Args:
        model: An engine, or a model of transformers and its tokenizer.
        prompts: User messages or chats.
        instructions: One for all prompts, several for all, or a list for each prompt; each an instruction or a spelling
            such as `"sentences(at_most=2)"`. None: those that the steering stands for.
        steering: As in `Engine.generate`.
        budget: The most attempts for a prompt, at least 1.
        strengths: Multiples of the steering, in the order in which they are tried.
        constrain: Whether the last attempt is held to a constraint. None: where it can be. True: it must be, even if it
            is the only one. False: never.
        accept: Asked of answers that pass the checks; one that it refuses is not verified. Facts, say, or length.
        max_new_tokens: Longest answer, in tokens.
        temperature: Of the sampled attempts; None leaves it to the model.
        top_p: Of the sampled attempts; None leaves it to the model.
        seed: Of the sampled attempts, and which phrasings are used.
        batch_size: Rows per batch; None lets the engine choose.
        progress: See `trimtab.progress.Progress`; of each round of attempts.

    Returns:
        One result per prompt, in order. `verified` means that the text passes every check.

    Raises:
        PromptError: There is no prompt, or one is too long.
        InstructionError: No instruction is named, one has no check, or two cannot both be followed.
        SteeringError: A steering is for another model, or a strength is not finite.
        ModelError: The settings contradict each other, or answers cannot be held to a constraint although they must.
    """
    engine, prompts = as_engine(model), prompt_list(prompts)
    budget = arguments.whole(budget, "budget (the most attempts)", PromptError, least=1)
    strengths = [
        arguments.number(one, "each of strengths", SteeringError)
        for one in arguments.listed(strengths, "strengths", "numbers", SteeringError)
    ]
    if constrain is not None:
        arguments.flag(constrain, "constrain", ModelError)
    if accept is not None:
        arguments.function(accept, "accept", "a function of query and response, or None", InstructionError)
    # Whatever the first attempts come to: the settings of those that are sampled.
    Settings(max_new_tokens, True, temperature, top_p)
    seed = arguments.seed(seed, ModelError)
    given = engine.steerings_of_rows(steering, len(prompts))
    wanted = wanted_of(instructions, given, len(prompts))
    # Whether it acts is decided once, not at every attempt: what is tried is what acts.
    acting = engine.decided(given, prompts, batch_size=batch_size)
    rows = [
        _Row(prompt, tuple(one.for_query(prompt_text(prompt)) for one in asked), acts)
        for prompt, asked, acts in zip(prompts, wanted, acting, strict=True)
    ]
    if constrain:
        for row in rows:
            row.hold(engine)

    def resort(row: _Row) -> bool:
        return row.holds(engine) if constrain is None and budget > 1 else bool(constrain)

    plans = [plan(row.steering, strengths, budget, partial(resort, row)) for row in rows]
    sampling: dict[str, Any] = {"do_sample": True, "temperature": temperature, "top_p": top_p}
    with shown(progress) as tell:
        for number in range(budget):
            todo = [(row, next(steps)) for row, steps in zip(rows, plans, strict=True) if not row.verified]
            for sampled in (False, True):
                batch = [(row, step) for row, step in todo if step.sampled == sampled]
                if not batch:
                    continue
                held = [row.constraint if step.constrained else None for row, step in batch]
                answers = engine.generate(
                    [row.asked(step.told, seed + number) for row, step in batch],
                    steering=[
                        None if step.strength is None else row.scaled(step.strength) for row, step in batch
                    ],
                    constraints=held if any(held) else None,
                    max_new_tokens=max_new_tokens,
                    batch_size=batch_size,
                    progress=prefixed(tell, f"attempt {number + 1} of {budget}"),
                    **({**sampling, "seed": seed + number} if sampled else {}),
                )
                for (row, step), answer in zip(batch, answers, strict=True):
                    row.take(step, answer, accept)
    return [row.result() for row in rows]


class _Row:
    """One prompt, and what was tried on it."""

    def __init__(self, prompt: Prompt, wanted: tuple[Instruction, ...], steering: Steering | None) -> None:
        self.prompt = prompt
        self.wanted = wanted
        self.steering = steering
        self.constraint: Constraint | None = None
        self._attempts: list[Attempt] = []
        self._scaled: dict[float, Steering] = {}

    @property
    def verified(self) -> bool:
        return bool(self._attempts) and self._attempts[-1].verified

    def hold(self, engine: Engine) -> None:
        """Find what holds its answers to what is wanted; refused where nothing does, or where the engine cannot."""
        found = constraint_of(self.wanted)
        if found is None:
            names = ", ".join(one.label for one in self.wanted)
            raise InstructionError(
                f"no constraint is known that holds an answer to {names}; choose others, or do without a constraint"
            )
        engine.matchers.matcher(found, beginning(self.prompt))
        self.constraint = found

    def holds(self, engine: Engine) -> bool:
        """Whether that can be done."""
        with suppress(ModelError, InstructionError, PromptError):
            self.hold(engine)
        return self.constraint is not None

    def scaled(self, strength: float) -> Steering | None:
        """The steering at a strength."""
        if self.steering is None:
            return None
        if strength not in self._scaled:
            self._scaled[strength] = self.steering * strength
        return self._scaled[strength]

    def asked(self, told: bool, turn: int) -> Prompt:
        """The prompt, with the instructions in their words where they are told; each turn words them anew."""
        if not told:
            return self.prompt
        words = []
        for instruction in self.wanted:
            phrasings = instruction.phrasings("learning")
            if phrasings:
                words.append(phrasings[turn % len(phrasings)])
        return with_words(self.prompt, " ".join(words))

    def take(self, step: Step, answer: Generation, accept: Accept | None) -> None:
        """Check an answer and keep what came of it."""
        # What is checked is what a reader gets: the beginning that the prompt gave, and the rest.
        whole = beginning(self.prompt) + answer.text
        followed = tuple(one.check(whole) for one in self.wanted)
        accepted = accept is None or not all(followed) or bool(accept(prompt_text(self.prompt), whole))
        attempt = Attempt(
            condition=step.condition,
            strength=step.strength,
            sampled=step.sampled,
            text=answer.text,
            tokens=len(answer.token_ids),
            finished=answer.finished,
            followed=followed,
            accepted=accepted,
            taken=answer.taken,
        )
        self._attempts.append(attempt)

    def result(self) -> Followed:
        """What came of the prompt."""
        chosen = best(self._attempts)
        labels = tuple(one.label for one in self.wanted)
        return Followed(self.prompt, labels, chosen.text, chosen.verified, tuple(self._attempts))
