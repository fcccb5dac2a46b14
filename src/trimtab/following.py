"""Answers that are checked: generate, check, and try again where the check fails, harder each time.

Every round of attempts is one batch over the rows that have no verified answer yet, so that a prompt that is answered
well at once costs no more than generating does. What an attempt may add, in this order: more strength, the instruction
in the prompt, sampling. An answer is called verified if it was checked, as it is, and passed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from trimtab.engines import as_engine
from trimtab.engines.base import Generation, Model, prompt_list
from trimtab.engines.chat import beginning
from trimtab.errors import InstructionError, PromptError, SteeringError
from trimtab.instructions import Instruction, from_dict, resolve_all
from trimtab.progress import Progress, prefixed, shown
from trimtab.steering.when.base import content_text, prompt_text

if TYPE_CHECKING:
    from trimtab.engines.base import Prompt
    from trimtab.steering.steering import Steering

STRENGTHS = (1.0, 1.5, 2.0)
"""Multiples of the steering that are tried, in order."""

Accept = Callable[[str, str], bool]
"""`(query, response) -> whether it will do`, asked of responses that pass the check."""

Wanted = Instruction | str
"""An instruction, or the spelling of one or several."""

_TEMPERATURE = 0.8


@dataclass(frozen=True)
class Attempt:
    """One answer to one prompt, and what was done to get it.

    Attributes:
        condition: `baseline`, `instructed`, `steered` or `instructed+steered`.
        strength: What the steering was multiplied by; None where nothing steered.
        sampled: Whether it was sampled; greedy otherwise.
        text: The answer.
        tokens: How many tokens were generated.
        finished: Whether the model ended it; False if it ran into the limit.
        followed: Whether each instruction's check passed, in the order of the instructions.
        accepted: What the caller's own test said; True where there is none or it was not asked.
    """

    condition: Literal["baseline", "instructed", "steered", "instructed+steered"]
    strength: float | None
    sampled: bool
    text: str
    tokens: int
    finished: bool
    followed: tuple[bool, ...]
    accepted: bool = True

    @property
    def verified(self) -> bool:
        """Whether every check passed, and the caller's own test did."""
        return all(self.followed) and self.accepted


@dataclass(frozen=True)
class Followed:
    """What came of one prompt.

    Attributes:
        prompt: The prompt as it was given.
        instructions: The labels of what was to be followed.
        text: The verified answer; without one, the answer that followed most; of equals one that the model
            ended, and of these the earliest.
        verified: Whether that answer passed every check.
        attempts: Everything that was tried, in order; the verified answer is the last.
    """

    prompt: Prompt
    instructions: tuple[str, ...]
    text: str
    verified: bool
    attempts: tuple[Attempt, ...]

    @property
    def tokens(self) -> int:
        """How many tokens all attempts generated together."""
        return sum(attempt.tokens for attempt in self.attempts)

    @property
    def attempt(self) -> Attempt:
        """The attempt that gave the answer."""
        return _best(self.attempts)

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON; of all attempts, only the answer's text is repeated."""
        best = self.attempt
        return {
            "prompt": self.prompt if isinstance(self.prompt, str) else [dict(one) for one in self.prompt],
            "response": self.text,
            "verified": self.verified,
            "followed": dict(zip(self.instructions, best.followed, strict=True)),
            "finished": best.finished,
            "tokens": self.tokens,
            "attempts": [
                {
                    "condition": one.condition,
                    "strength": one.strength,
                    "sampled": one.sampled,
                    "tokens": one.tokens,
                    "followed": sum(one.followed),
                    "verified": one.verified,
                }
                for one in self.attempts
            ],
        }


def follow(
    model: Model,
    prompts: Sequence[Prompt],
    instructions: Wanted | Sequence[Wanted] | Sequence[Sequence[Wanted]] | None = None,
    *,
    steering: Steering | Sequence[Steering | None] | None = None,
    budget: int = 8,
    strengths: Sequence[float] = STRENGTHS,
    accept: Accept | None = None,
    max_new_tokens: int = 256,
    temperature: float = _TEMPERATURE,
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

    Args:
        model: An engine, or a model of transformers and its tokenizer.
        prompts: User messages or chats.
        instructions: One for all prompts, several for all, or a list for each prompt; each an instruction or a spelling
            such as `"sentences(at_most=2)"`. None: those that the steering stands for.
        steering: As in `Engine.generate`.
        budget: The most attempts for a prompt, at least 1.
        strengths: Multiples of the steering, in the order in which they are tried.
        accept: Asked of answers that pass the checks; one that it refuses is not verified. Facts, say, or length.
        max_new_tokens: Longest answer, in tokens.
        temperature: Of the sampled attempts.
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
        ModelError: The settings contradict each other.
    """
    engine, prompts = as_engine(model), prompt_list(prompts)
    if budget < 1:
        raise PromptError(f"the budget is {budget} attempts; it must be at least 1")
    for strength in strengths:
        if not math.isfinite(strength):
            raise SteeringError(f"a strength must be a finite number, not {strength}")
    given = engine.steerings_of_rows(steering, len(prompts))
    wanted = _wanted_of(instructions, given, len(prompts))
    # Whether it acts is decided once, not at every attempt: what is tried is what acts.
    acting = engine.decided(given, prompts, batch_size=batch_size)
    rows = [
        _Row(prompt, tuple(one.for_query(prompt_text(prompt)) for one in asked), acts)
        for prompt, asked, acts in zip(prompts, wanted, acting, strict=True)
    ]
    plans = [_plan(row.steering, strengths) for row in rows]
    sampling: dict[str, Any] = {"do_sample": True, "temperature": temperature, "top_p": top_p}
    with shown(progress) as tell:
        for number in range(budget):
            todo = [(row, next(plan)) for row, plan in zip(rows, plans, strict=True) if not row.verified]
            for sampled in (False, True):
                batch = [(row, step) for row, step in todo if step.sampled == sampled]
                if not batch:
                    continue
                answers = engine.generate(
                    [row.asked(step.told, seed + number) for row, step in batch],
                    steering=[
                        None if step.strength is None else row.scaled(step.strength) for row, step in batch
                    ],
                    max_new_tokens=max_new_tokens,
                    batch_size=batch_size,
                    progress=prefixed(tell, f"attempt {number + 1} of {budget}"),
                    **({**sampling, "seed": seed + number} if sampled else {}),
                )
                for (row, step), answer in zip(batch, answers, strict=True):
                    row.take(step, answer, accept)
    return [row.result() for row in rows]


def _wanted_of(
    instructions: Wanted | Sequence[Wanted] | Sequence[Sequence[Wanted]] | None,
    steerings: Sequence[Steering | None],
    count: int,
) -> list[tuple[Instruction, ...]]:
    """What the answer to each prompt must follow: given, or what its steering stands for."""
    if instructions is None:
        rows = [
            tuple(dict.fromkeys(from_dict(item) for item in one.record.instructions)) if one else ()
            for one in steerings
        ]
    elif isinstance(instructions, Wanted) or all(isinstance(one, Wanted) for one in instructions):
        rows = [tuple(resolve_all(instructions))] * count  # type: ignore[arg-type]
    elif len(instructions) == count and not any(isinstance(one, Wanted) for one in instructions):
        rows = [tuple(resolve_all(one)) for one in instructions]
    else:
        raise InstructionError(
            f"there are instructions for {len(instructions)} prompts, and {count} prompts; give a list of "
            "instructions for each, or one list for all"
        )
    for wanted in dict.fromkeys(rows):
        _refuse_impossible(wanted)
    return rows


def _refuse_impossible(wanted: Sequence[Instruction]) -> None:
    if not wanted:
        raise InstructionError(
            "no instruction is named that an answer could be checked for; name one, or use a steering that stands "
            "for one"
        )
    for number, one in enumerate(wanted):
        if not one.can_check:
            raise InstructionError(
                f"{one.name} has phrasings but no check, so no answer could be verified; give it a check, or leave "
                "it out"
            )
        for other in wanted[:number]:
            reason = other.conflicts_with(one)
            if reason is not None:
                raise InstructionError(f"{other.label} and {one.label} cannot both be followed: {reason}")


@dataclass(frozen=True)
class _Step:
    """What one attempt does."""

    strength: float | None
    told: bool
    sampled: bool = False

    @property
    def condition(self) -> Literal["baseline", "instructed", "steered", "instructed+steered"]:
        if self.strength is None:
            return "instructed" if self.told else "baseline"
        return "instructed+steered" if self.told else "steered"


def _plan(steering: Steering | None, strengths: Sequence[float]) -> Iterator[_Step]:
    """The attempts at one row, without an end."""
    told = [_Step(None, told=True)]
    if steering is None or not strengths:
        yield _Step(None, told=False)
    else:
        yield from (_Step(float(strength), told=False) for strength in strengths)
        told.insert(0, _Step(float(strengths[0]), told=True))
    yield from told
    while True:
        yield from (_Step(step.strength, told=True, sampled=True) for step in told)


class _Row:
    """One prompt, and what was tried on it."""

    def __init__(self, prompt: Prompt, wanted: tuple[Instruction, ...], steering: Steering | None) -> None:
        self.prompt = prompt
        self.wanted = wanted
        self.steering = steering
        self._attempts: list[Attempt] = []
        self._scaled: dict[float, Steering] = {}

    @property
    def verified(self) -> bool:
        return bool(self._attempts) and self._attempts[-1].verified

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
        return _with_words(self.prompt, " ".join(words))

    def take(self, step: _Step, answer: Generation, accept: Accept | None) -> None:
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
        )
        self._attempts.append(attempt)

    def result(self) -> Followed:
        """What came of the prompt."""
        best = _best(self._attempts)
        labels = tuple(one.label for one in self.wanted)
        return Followed(self.prompt, labels, best.text, best.verified, tuple(self._attempts))


def _best(attempts: Sequence[Attempt]) -> Attempt:
    """The verified one, else the first of those that follow most; one that the model ended is the better."""
    return max(attempts, key=lambda one: (one.verified, sum(one.followed), one.finished))


def _with_words(prompt: Prompt, words: str) -> Prompt:
    """A prompt with the instructions said behind it; in a chat, behind what is asked last."""
    if isinstance(prompt, str):
        return f"{prompt} {words}".rstrip()
    asked = len(prompt) - (2 if beginning(prompt) else 1)
    told = {**prompt[asked], "content": f"{content_text(prompt[asked]['content'])} {words}".rstrip()}
    return [*prompt[:asked], told, *prompt[asked + 1 :]]
