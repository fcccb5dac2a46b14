"""Two steerings at once: whether they disturb each other, and what can be done about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab import prompts
from trimtab.errors import SteeringError
from trimtab.learn.compose import compose, union_of
from trimtab.learn.distillation.schedule import Schedule
from trimtab.measure.responses import all_follow, respond
from trimtab.page.workplace import Workplace, known_instructions

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.page.working import Job
    from trimtab.steering.steering import Steering

QUESTIONS = 12
SLACK = 0.1
"""So much less often followed counts as left alone: on some dozen questions, that is one."""
_STEPS, _QUERIES = 40, 32


@dataclass(frozen=True)
class Together:
    """How often each instruction is followed, by what steers; shares of some test questions, None until measured.

    Attributes:
        names: The two steerings.
        asked: What each of them stands for.
        shares: By what steers (`""` for nothing, a name, or both names with a plus), the share for each of the two, and
            for both at once.
    """

    names: tuple[str, str]
    asked: tuple[Instruction, Instruction]
    shares: dict[str, tuple[float, float, float]]

    @property
    def both(self) -> str:
        """What the union is called."""
        return "+".join(self.names)

    def verdict(self) -> str:
        """Whether they disturb each other, in words; empty until all is measured."""
        if self.both not in self.shares:
            return ""
        lost = [
            (name, self.shares[name][number], self.shares[self.both][number])
            for number, name in enumerate(self.names)
            if self.shares[self.both][number] < self.shares[name][number] - SLACK
        ]
        if not lost:
            return "They leave each other alone: each is followed together as often as on its own."
        words = "; ".join(f"{name} falls from {alone:.0%} to {both:.0%}" for name, alone, both in lost)
        return (
            f"They disturb each other: {words}. A short training of both at once can make them go together."
        )


def together(workplace: Workplace, one: str, other: str, questions: int = QUESTIONS) -> Iterator[Together]:
    """Measures nothing, each, and both, one after the other.

    Raises:
        SteeringError: They are the same, contradict each other, or stand for what nothing can check.
    """
    steerings = checked(workplace, one, other)
    asked = (known_instructions(steerings[0])[0], known_instructions(steerings[1])[0])
    queries = prompts.default_queries(workplace.engine.identity, "test", questions)
    found = Together((one, other), asked, {})
    yield found
    ways: dict[str, Steering | None] = {"": None, one: steerings[0], other: steerings[1]}
    ways[found.both] = steerings[0] + steerings[1]
    for name, steering in ways.items():
        texts = [
            answer.text
            for answer in respond(
                workplace.engine, queries, queries, steering=steering, max_new_tokens=workplace.max_new_tokens
            )
        ]
        each = [all_follow(texts, queries, [instruction]) for instruction in asked]
        rows = [*each, [first and second for first, second in zip(*each, strict=True)]]
        first, second, both = (sum(passed) / len(passed) for passed in rows)
        found = Together(found.names, asked, {**found.shares, name: (first, second, both)})
        yield found


def checked(workplace: Workplace, one: str, other: str) -> tuple[Steering, Steering]:
    """Two steerings that can go together.

    Raises:
        SteeringError: They cannot, or there is none of a name.
    """
    if not one or not other or one == other:
        raise SteeringError("choose two different steerings")
    pair = workplace.steering(one), workplace.steering(other)
    for name, steering in zip((one, other), pair, strict=True):
        if len(known_instructions(steering)) != 1:
            raise SteeringError(
                f"{name} is not the steering of one instruction, so nothing can tell them apart"
            )
    union_of(pair)
    return pair


def fit(workplace: Workplace, one: str, other: str) -> None:
    """Begins to train two steerings at once, in the background; what comes of it is kept, and can be chosen.

    Raises:
        TrimtabError: They cannot go together, or other work is under way.
    """
    workplace.check_permission()
    pair = checked(workplace, one, other)
    engine = workplace.twin
    queries = prompts.default_queries(engine.identity, "learning", _QUERIES)
    name = f"{one}-and-{other}"

    def work(job: Job) -> tuple[str, str]:
        found = compose(
            engine,
            pair,
            queries=queries,
            fit="always",
            schedule=Schedule(steps=_STEPS, rate=0.01, gate_rate=0.001),
            max_new_tokens=workplace.max_new_tokens,
            progress=job.tell,
        )
        workplace.keep(name, found.steering)
        before, after = found.union_followed or 0.0, found.fitted_followed or 0.0
        return f"Both followed before: {before:.0%} of 24 questions. After: {after:.0%}.", name

    workplace.job.begin(f"Making {one} and {other} go together", work)
