"""What was tried on a prompt, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trimtab.measure.rows import CONSTRAINED, Condition

if TYPE_CHECKING:
    from trimtab.engines.base import Prompt


@dataclass(frozen=True)
class Attempt:
    """One answer to one prompt, and what was done to get it.

    Attributes:
        condition: What was done to the prompt; the constrained ones are the last resort.
        strength: What the steering was multiplied by; None where nothing steered.
        sampled: Whether it was sampled; greedy otherwise.
        text: The answer.
        tokens: How many tokens were generated.
        finished: Whether the model ended it; False if it ran into the limit.
        followed: Whether each instruction's check passed, in the order of the instructions.
        accepted: What the caller's own test said; True where there is none or it was not asked.
        taken: Where it was held to a constraint, the mean probability that this took away per token.
    """

    condition: Condition
    strength: float | None
    sampled: bool
    text: str
    tokens: int
    finished: bool
    followed: tuple[bool, ...]
    accepted: bool = True
    taken: float | None = None

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
    attempts: tuple[Attempt, ...] = field(repr=False)

    @property
    def tokens(self) -> int:
        """How many tokens all attempts generated together."""
        return sum(attempt.tokens for attempt in self.attempts)

    @property
    def attempt(self) -> Attempt:
        """The attempt that gave the answer."""
        return best(self.attempts)

    @property
    def constrained(self) -> bool:
        """Whether it took the last resort: the answer was held to a constraint."""
        return self.attempt.condition in CONSTRAINED

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON; of all attempts, only the answer's text is repeated."""
        chosen = self.attempt
        return {
            "prompt": self.prompt if isinstance(self.prompt, str) else [dict(one) for one in self.prompt],
            "response": self.text,
            "verified": self.verified,
            "followed": dict(zip(self.instructions, chosen.followed, strict=True)),
            "finished": chosen.finished,
            "tokens": self.tokens,
            "constrained": self.constrained,
            "attempts": [
                {
                    "condition": one.condition,
                    "strength": one.strength,
                    "sampled": one.sampled,
                    "tokens": one.tokens,
                    "followed": sum(one.followed),
                    "verified": one.verified,
                    **({} if one.taken is None else {"taken": round(one.taken, 4)}),
                }
                for one in self.attempts
            ],
        }


def best(attempts: Sequence[Attempt]) -> Attempt:
    """The verified one, else the first of those that follow most; one that the model ended is the better."""
    return max(attempts, key=lambda one: (one.verified, sum(one.followed), one.finished))
