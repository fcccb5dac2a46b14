"""The answers to one request, on their way: tokens become text, likelihoods and the reason of their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trimtab.serve.refusal import RefusedError
from trimtab.server.runner import FailedError, Queue, Runner, Writing
from trimtab.server.text import AnswerText, Grown

if TYPE_CHECKING:
    from trimtab.engines.continuous import Ask, Event
    from trimtab.serve.composition import Composition


@dataclass(frozen=True)
class Likely:
    """How likely a token was that was written, and which others were likely there.

    Attributes:
        token: The token.
        logprob: Its log-probability.
        top: The most likely ones there, with theirs.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass
class Part:
    """What an answer grew by.

    Attributes:
        number: Which of the request's answers.
        text: Of the answer.
        thought: Of what the model thinks before it.
        likely: Of each token of the answer, where that was asked for.
        ended: `"stop"` or `"length"` with the last part.
    """

    number: int
    text: str = ""
    thought: str = ""
    likely: list[Likely] = field(default_factory=list)
    ended: str | None = None

    def __bool__(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.text or self.thought or self.likely or self.ended)


@dataclass(frozen=True)
class Order:
    """One answer that is wanted: what the batch is asked, and what makes text of what it gives."""

    ask: Ask
    text: AnswerText


class Answers:
    """The answers to one request; to be closed, whatever becomes of it.

    Args:
        runner: Where they are written.
        orders: What is wanted.
        composition: What steers them.
        seconds: How long they may take.

    Attributes:
        tokens: How many tokens were written to each so far.
    """

    def __init__(
        self, runner: Runner, orders: Sequence[Order], composition: Composition, seconds: float
    ) -> None:
        self.tokens = [0] * len(orders)
        self._runner = runner
        self._orders = orders
        self._queue: Queue = asyncio.Queue()
        self._composition = composition
        self._seconds = seconds
        self._deadline = 0.0
        self._open: dict[Writing, int] = {}

    def begin(self) -> None:
        """Puts them all into the batch, or none.

        Raises:
            BusyError: There is no room for them.
        """
        self._runner.check_room(len(self._orders))
        self._deadline = asyncio.get_running_loop().time() + self._seconds
        try:
            for number, order in enumerate(self._orders):
                self._open[self._runner.submit(order.ask, self._queue, self._composition)] = number
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Gives up what is not done."""
        for writing in self._open:
            self._runner.cancel(writing)
        self._open.clear()

    async def parts(self) -> AsyncIterator[Part]:
        """What the answers grow by, as it comes.

        Raises:
            FailedError: One of them could not be written to its end, or it took too long.
        """
        while self._open:
            try:
                async with asyncio.timeout_at(self._deadline):
                    writing, event = await self._queue.get()
            except TimeoutError as error:
                raise FailedError(
                    f"the answer was not complete after {self._seconds:g} seconds; ask for fewer tokens",
                    status=504,
                    reason="timeout",
                ) from error
            number = self._open.get(writing)
            if isinstance(event, RefusedError):
                raise event
            if number is None:
                continue  # it ended at a stop
            part = self._part(number, event)
            if part.ended:
                del self._open[writing]
                self._runner.cancel(writing)
            if part:
                yield part

    def _part(self, number: int, event: Event) -> Part:
        text = self._orders[number].text
        part = Part(number)
        if event.token is not None:
            self.tokens[number] += 1
            grown = text.add(event.token)
            if event.logprob is not None and text.is_answer:
                part.likely.append(Likely(event.token, event.logprob, event.top_logprobs))
            _take(part, grown)
        if event.ended and not part.ended:
            _take(part, text.finish())
            part.ended = part.ended or event.ended
        return part


def _take(part: Part, grown: Grown) -> None:
    part.text += grown.text
    part.thought += grown.thought
    if grown.stopped:
        part.ended = "stop"
