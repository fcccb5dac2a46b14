"""Reading what a model wrote, token by token: where its thought ends and its answer begins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from trimtab.thoughts.formats import ThoughtFormat, format_of, knows
from trimtab.thoughts.marks import Marks, Node
from trimtab.thoughts.parts import Parts, PartsSoFar
from trimtab.thoughts.spelling import token_bytes

if TYPE_CHECKING:
    from trimtab.thoughts.tables import TokenTable

_OTHER = b"\xff"  # never in UTF-8: stands for a special token that is no mark


class Reader:
    """Tells thought, answer and tool calls apart for one tokenizer.

    Args:
        tokenizer: The model's tokenizer.
        form: The format, or its name; None for the one that the model is known by (see `format_of`).

    Attributes:
        form: The format.

    Raises:
        ModelError: There is no such format.
    """

    def __init__(self, tokenizer: Any, form: ThoughtFormat | str | None = None) -> None:
        self.form = format_of(tokenizer, form)
        calls = [(opening, closing) for opening, closing in self.form.calls if knows(tokenizer, opening)]
        self.marks = Marks(self.form, calls)
        self._tokenizer = tokenizer

    @property
    def is_trivial(self) -> bool:
        """Whether there is nothing to tell apart: all that is generated is answer."""
        return self.marks.is_trivial

    @cached_property
    def pieces(self) -> list[bytes]:
        """What each token spells."""
        return token_bytes(self._tokenizer, self._special)

    @cached_property
    def table(self) -> TokenTable:
        """The same for tensors of tokens."""
        from trimtab.thoughts.tables import TokenTable

        return TokenTable.of(self.marks, self.pieces)

    @cached_property
    def _special(self) -> frozenset[int]:
        added = getattr(self._tokenizer, "added_tokens_decoder", {})
        named = {int(number) for number, token in added.items() if getattr(token, "special", True)}
        return frozenset(named | set(getattr(self._tokenizer, "all_special_ids", ())))

    @cached_property
    def _others(self) -> frozenset[int]:
        """Special tokens that are in no mark: in a prompt, they end a turn or begin one."""
        marks = {*self.marks.texts, *(mark.encode() for mark, _ in self.form.entered)}
        return frozenset(
            token
            for token in self._special
            if token >= len(self.pieces) or not any(self.pieces[token] in mark for mark in marks)
        )

    def after(self, prompt: Sequence[int]) -> Node:
        """Where a response to a prompt goes on: in a thought that the chat template or the prompt's end opened, say."""
        if self.is_trivial or not self.form.entered:
            return self.marks.begin
        end = b"".join(_OTHER if token in self._others else self.piece(token) for token in prompt)
        end = end[end.rfind(_OTHER) + 1 :]
        places = [(end.rfind(mark.encode()), mark, part) for mark, part in self.form.entered]
        place, mark, part = max(places, key=lambda found: found[0])
        if place < 0:
            return self.marks.begin
        return self.marks.run(Node(part), end[place + len(mark.encode()) :])

    def read(self, node: Node, token: int) -> Node:
        """Where a text stands after one more token."""
        return self.marks.run(node, self.piece(token))

    def answering(self, node: Node) -> str:
        """What has to be written there for the answer to begin; empty where it may begin, or has begun."""
        return (self.form.answering or {}).get(node.part, "")

    def lead(self, prompt: Sequence[int]) -> list[int]:
        """The tokens that have to stand behind a prompt for the answer to begin at once: none, mostly."""
        text = self.answering(self.after(prompt))
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    @property
    def in_answer(self) -> Node:
        """Where a text stands that is all answer so far."""
        return Node(self.form.answer)

    def of_answer(self, node: Node, tokens: Sequence[int]) -> list[bool]:
        """Of each token, read after those before it, whether it belongs to the answer; `node` is where they begin.

        A token that ends a mark does not; nor does one in front of an answer while it is open whether that is one.
        """
        if self.is_trivial:
            return [True] * len(tokens)
        found = []
        for token in tokens:
            node = self.read(node, token)
            found.append(self.marks.is_answer(node))
        return found

    def begins(self, node: Node, tokens: Sequence[int]) -> int:
        """How many of these tokens come before the answer; all where there is none. `node` is where they begin."""
        if self.is_trivial:
            return 0
        for place, token in enumerate(tokens):
            node = self.read(node, token)
            if self.marks.is_answer(node):
                return place
        return len(tokens)

    def parts(self, tokens: Sequence[int], node: Node | None = None) -> Parts:
        """Takes what was generated apart.

        Args:
            tokens: What was generated, without the end token.
            node: Where it begins (see `after`); None for where a response begins without a prompt.
        """
        if self.is_trivial:
            return Parts(self.text(tokens))
        found = PartsSoFar(self.marks, self.marks.begin if node is None else node, self.text)
        for token in tokens:
            found.add(token, self.piece(token))
        return found.parts(finished=True)

    def answer_in(self, text: str, node: Node | None = None) -> str:
        """The answer in a text that somebody wrote, with a thought in front of it or not; what marks nothing is answer.

        Args:
            text: The text.
            node: Where the model's response to a prompt begins (see `after`): a thought that the prompt opened needs no
                mark of its own in the text. None for where a response begins without a prompt.

        Returns:
            The answer without marks; empty where the text has none.
        """
        if not any(mark in text.encode() for mark in self.marks.texts):
            return text
        return self.parts(list(self._tokenizer(text, add_special_tokens=False)["input_ids"]), node).answer

    def answers(self, node: Node, tokens: Iterable[int]) -> Iterator[str]:
        """The answer after each token that is generated, without what may turn out to begin a mark, and at the end."""
        ids: list[int] = []
        found = PartsSoFar(self.marks, node, self.text)
        for token in tokens:
            if self.is_trivial:
                ids.append(token)
                yield self.text(ids)
            else:
                found.add(token, self.piece(token))
                yield found.parts(finished=False).answer
        yield self.text(ids) if self.is_trivial else found.parts(finished=True).answer

    def so_far(self, node: Node) -> PartsSoFar:
        """The parts of what is written from there on, as it grows; take the bytes of its tokens from `piece`."""
        return PartsSoFar(self.marks, node, self.text)

    def piece(self, token: int) -> bytes:
        """What a token spells; of one that the tokenizer does not know, nothing."""
        return self.pieces[token] if 0 <= token < len(self.pieces) else b""

    @cached_property
    def text(self) -> Callable[[Sequence[int]], str]:
        """Makes text of tokens, without the special ones."""
        decode = self._tokenizer.decode
        # Cleaning up spaces would change text before the newest token, and what a check sees.
        return lambda ids: str(
            decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        )
