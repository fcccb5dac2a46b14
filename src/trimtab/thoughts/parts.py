"""What a model wrote, taken apart; also while it writes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trimtab.thoughts.marks import Marks, Node


@dataclass(frozen=True)
class Parts:
    """What a model wrote, taken apart.

    Attributes:
        answer: What it answers, without marks. White space in front of it goes where a thought was.
        thought: What it thought before, without white space around; empty where it thought nothing between the marks,
            None where there are no marks.
        calls: The tool calls, as they were written.
    """

    answer: str
    thought: str | None = None
    calls: tuple[str, ...] = ()


class PartsSoFar:
    """The parts of a text that grows: what is behind a mark is not read again.

    Args:
        marks: What leads from part to part.
        node: Where the text begins.
        decode: Makes text of tokens.
    """

    def __init__(self, marks: Marks, node: Node, decode: Callable[[Sequence[int]], str]) -> None:
        self._marks = marks
        self._node = node
        self._decode = decode
        self._over: list[tuple[str, str]] = []  # kind and text of the stretches that a mark ended
        self._begin(None, b"", 0)

    def add(self, token: int, piece: bytes) -> None:
        """One more token, and the bytes that it spells."""
        self._tokens.append(token)
        self._pieces.append(piece)
        self._size += len(piece)
        for place, byte in enumerate(piece, 1):
            before = self._node
            self._node = self._marks.step(before, byte)
            mark = self._marks.completed(before, byte) if self._node.entered else 0
            if mark:
                kind = self._marks.kinds[before.part]
                text = self._text(self._size - len(piece) + place - mark)
                # White space in front of a first mark is nobody's.
                self._over.append(("markup" if kind == "open" else kind, text))
                self._begin(token, piece, place)

    def parts(self, *, finished: bool) -> Parts:
        """The parts of what there is; `finished` is false where more may come: what may begin a mark is held back."""
        kind = self._marks.kinds[self._node.part]
        if finished:
            last = ("answer" if kind == "open" else kind, self._text(self._size))
        elif kind == "open":
            last = ("markup", "")
        else:
            last = (kind, self._text(self._size - len(self._node.progress)))
        kinds: dict[str, list[str]] = {"answer": [], "thought": [], "call": [], "markup": []}
        previous = ""
        for kind, text in (*self._over, last):
            if kind == previous == "call":  # what is called stands in front of what it is called with
                kinds[kind].append(f"{kinds[kind].pop().strip()}\n{text}")
            else:
                kinds[kind].append(text)
            previous = kind
        answer, thoughts = "".join(kinds["answer"]), kinds["thought"]
        return Parts(
            answer.lstrip() if thoughts else answer,
            "\n".join(thoughts).strip() if thoughts else None,
            tuple(call.strip() for call in kinds["call"]),
        )

    def _begin(self, token: int | None, piece: bytes, place: int) -> None:
        """Begins a stretch, in what a token has left."""
        left = token is not None and place < len(piece)
        self._tokens: list[int] = [token] if left and token is not None else []
        self._pieces: list[bytes] = [piece] if left else []
        self._start, self._size = (place, len(piece)) if left else (0, 0)

    def _text(self, end: int) -> str:
        """The text of the stretch under way: its tokens decoded together, and what it has of tokens at its edges."""
        inside: list[int] = []
        front = back = b""
        place, start, end = 0, self._start, max(self._start, end)
        for token, piece in zip(self._tokens, self._pieces, strict=True):
            first, last = max(place, start), min(place + len(piece), end)
            own = piece[first - place : last - place] if first < last else b""
            if own == piece and start <= place <= end and (piece or inside):
                inside.append(token)
            elif own and not inside:
                front += own
            elif own:
                back += own
            place += len(piece)
        return front.decode(errors="replace") + self._decode(inside) + back.decode(errors="replace")
