"""The text of an answer as its tokens come: its thought told apart, held back where a stop may begin, ended at one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trimtab.thoughts import Reader
from trimtab.thoughts.marks import Node

_INCOMPLETE = "\ufffd"
"""What the first bytes of a character that is not complete decode to."""


@dataclass(frozen=True)
class Grown:
    """What a token added to an answer that can be told already.

    Attributes:
        text: Of the answer.
        thought: Of what the model thinks before it.
        stopped: Whether the answer is over, at a stop.
    """

    text: str = ""
    thought: str = ""
    stopped: bool = False


class PlainText:
    """All that is written, decoded a few tokens at a time.

    Args:
        decode: Makes text of tokens.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        # Tokens before `_read` are told; those from `_start` are decoded again with new ones, since what a token
        # spells can depend on those before it.
        self._start = self._read = 0

    def add(self, token: int) -> str:
        """One more token; gives what it adds."""
        self._ids.append(token)
        return self._more(complete=True)

    def rest(self) -> str:
        """What was held back as incomplete."""
        return self._more(complete=False)

    def _more(self, *, complete: bool) -> str:
        before = self._decode(self._ids[self._start : self._read])
        text = self._decode(self._ids[self._start :])
        if len(text) <= len(before) or (complete and text.endswith(_INCOMPLETE)):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return text[len(before) :]


class PartedText:
    """An answer and the thought before it."""

    def __init__(self, reader: Reader, node: Node) -> None:
        self._parts = reader.so_far(node)
        self._reader = reader
        self._node = node
        self._shown = {"answer": "", "thought": ""}

    def add(self, token: int) -> tuple[str, str]:
        """One more token; gives what it adds to the answer and to the thought."""
        self._parts.add(token, self._reader.piece(token))
        self._node = self._reader.read(self._node, token)
        return self._more(finished=False)

    @property
    def is_answer(self) -> bool:
        """Whether the last token was one of the answer."""
        return self._reader.marks.is_answer(self._node)

    def rest(self) -> tuple[str, str]:
        """What was held back."""
        return self._more(finished=True)

    def _more(self, *, finished: bool) -> tuple[str, str]:
        parts = self._parts.parts(finished=finished)
        texts = {"answer": parts.answer, "thought": parts.thought or ""}
        return self._new("answer", texts, finished), self._new("thought", texts, finished)

    def _new(self, kind: str, texts: dict[str, str], finished: bool) -> str:
        text, shown = texts[kind], self._shown[kind]
        if not text.startswith(shown) or (not finished and text.endswith(_INCOMPLETE)):
            return ""
        self._shown[kind] = text
        return text[len(shown) :]


class AnswerText:
    """The text of one answer, up to a stop.

    Args:
        reader: What tells an answer from the thought before it.
        node: Where the answer begins (see `Reader.after`); None where all that is written is answer.
        stops: The texts at which it ends, without them.
    """

    def __init__(self, reader: Reader, node: Node | None, stops: Sequence[str] = ()) -> None:
        self._parted = None if node is None or reader.is_trivial else PartedText(reader, node)
        self._plain = PlainText(reader.text)
        self._stops = stops
        self._held = ""

    def add(self, token: int) -> Grown:
        """One more token."""
        text, thought = (self._plain.add(token), "") if self._parted is None else self._parted.add(token)
        return self._checked(text, thought, finished=False)

    @property
    def is_answer(self) -> bool:
        """Whether the last token was one of the answer, and not of a thought before it."""
        return self._parted is None or self._parted.is_answer

    def finish(self) -> Grown:
        """The model has ended: what was held back."""
        text, thought = (self._plain.rest(), "") if self._parted is None else self._parted.rest()
        return self._checked(text, thought, finished=True)

    def _checked(self, text: str, thought: str, *, finished: bool) -> Grown:
        if not self._stops:
            return Grown(text, thought)
        whole = self._held + text
        places = [place for stop in self._stops if (place := whole.find(stop)) >= 0]
        if places:
            self._held = ""
            return Grown(whole[: min(places)], thought, stopped=True)
        held = 0 if finished else max(_begun(whole, stop) for stop in self._stops)
        self._held = whole[len(whole) - held :]
        return Grown(whole[: len(whole) - held], thought)


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of a text may be the beginning of a stop."""
    return next(
        (size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0
    )
