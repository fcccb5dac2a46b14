"""A format followed byte by byte: which part a text is in, and how much of a mark is there already."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from trimtab.thoughts.formats import ThoughtFormat


class Node(NamedTuple):
    """Where a text stands: its part, what of a mark is at its end, not yet complete, and whether a mark just ended."""

    part: str
    progress: bytes = b""
    entered: bool = False


class Marks:
    """The rules of a format, and of the calls that a model knows, over bytes."""

    def __init__(self, form: ThoughtFormat, calls: Iterable[tuple[str, str]] = ()) -> None:
        self.form = form
        self.kinds: dict[str, str] = dict(form.kinds)
        rules = list(form.rules)
        answer = form.answer
        for number, (opening, closing) in enumerate(calls):
            call = f"call {number}"
            self.kinds[call] = "call"
            rules.append((answer, opening, call))
            if self.kinds[form.begins] == "open":
                rules.append((form.begins, opening, call))
            if closing:
                rules.append((call, closing, answer))
        self.rules: dict[str, dict[bytes, str]] = {part: {} for part in self.kinds}
        for part, mark, to in rules:
            self.rules[part][mark.encode()] = to
        self._known: dict[tuple[Node, int], Node] = {}

    @property
    def is_trivial(self) -> bool:
        """Whether there is nothing to tell apart: all is answer."""
        return not any(self.rules.values()) and self.kinds[self.form.begins] == "answer"

    @property
    def texts(self) -> set[bytes]:
        """All marks."""
        return {mark for marks in self.rules.values() for mark in marks}

    @property
    def begin(self) -> Node:
        """Where a response begins."""
        return Node(self.form.begins)

    def step(self, node: Node, byte: int) -> Node:
        """Where it stands after one more byte."""
        known = self._known.get((node, byte))
        if known is None:
            known = self._known[node, byte] = self._step(node, bytes([byte]))
        return known

    def run(self, node: Node, text: bytes) -> Node:
        """Where it stands after more text."""
        for byte in text:
            node = self.step(node, byte)
        return node

    def completed(self, node: Node, byte: int) -> int:
        """The length of the mark that one more byte completes; 0 where it completes none."""
        marks, text = self.rules[node.part], node.progress + bytes([byte])
        starts = (0,) if self.kinds[node.part] == "open" else range(len(text))
        return next((len(text) - start for start in starts if text[start:] in marks), 0)

    def is_answer(self, node: Node) -> bool:
        """Whether the text that led to a node is of the answer; a mark is not."""
        return self.kinds[node.part] == "answer" and not node.entered

    def _step(self, node: Node, byte: bytes) -> Node:
        part, marks = node.part, self.rules[node.part]
        text = node.progress + byte
        if self.kinds[part] == "open":
            # A mark counts only where nothing but white space is in front of it.
            if text in marks:
                return Node(marks[text], entered=True)
            if any(mark.startswith(text) for mark in marks):
                return Node(part, text)
            return Node(part) if text.isspace() else self.run(Node(self.form.answer), text)
        for start in range(len(text)):
            if text[start:] in marks:
                return Node(marks[text[start:]], entered=True)
        for start in range(len(text)):
            if any(mark.startswith(text[start:]) for mark in marks):
                return Node(part, text[start:])
        return Node(part)
