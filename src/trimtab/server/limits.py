"""How much one embedded server takes on: of one request, and of all at once."""

from __future__ import annotations

from dataclasses import dataclass

from trimtab.errors import ModelError

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What a server admits; what goes beyond is refused, before anything is computed.

    Attributes:
        rows: Answers that are written at once.
        waiting: Answers that wait for a place; when so many do, a request is told to come again (429).
        tokens: The most tokens of a prompt and its answer together; None for what the model's context holds.
        answers: The most answers to one request: prompts times `n`.
        body_bytes: The largest body of a request.
        body_seconds: How long a client may take to send it.
        seconds: How long a request may take in all.
        grace_seconds: How long answers under way may go on once the server is told to end.

    Raises:
        ModelError: A limit is not above 0.
    """

    rows: int = 32
    waiting: int = 256
    tokens: int | None = None
    answers: int = 32
    body_bytes: int = 64 * MIB
    body_seconds: float = 30.0
    seconds: float = 600.0
    grace_seconds: float = 20.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            may_be_none = name in ("waiting", "grace_seconds")
            if value is not None and (value < 0 or (value == 0 and not may_be_none)):
                raise ModelError(
                    f"the limit {name} is {value}; it must be {'at least' if may_be_none else 'above'} 0"
                )
