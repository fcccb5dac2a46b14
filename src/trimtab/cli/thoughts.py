"""What is said of answers that are not there: thoughts that were cut off, and calls of tools alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trimtab.cli.output import Output


@dataclass
class Missing:
    """Counts the answers that are empty, and why.

    Attributes:
        answers: How many there were.
        thinking: How many of these are a thought that was not closed when the tokens ran out.
        calling: How many call tools and say nothing.
    """

    answers: int = 0
    thinking: int = 0
    calling: int = 0

    def add(self, text: str, thought: str | None, *, finished: bool, calls: bool = False) -> None:
        """Counts one answer."""
        self.answers += 1
        if text.strip():
            return
        if calls:
            self.calling += 1
        elif thought is not None and not finished:
            self.thinking += 1

    def tell(self, output: Output, tokens: int) -> None:
        """Says it, where there are any; `tokens` is the longest answer."""
        if self.thinking:
            output.note(
                f"warning: {self.thinking} of {self.answers} answers are empty: the model was still thinking after "
                f"{tokens} tokens; give it more (--max-new-tokens)"
            )
        if self.calling:
            output.note(
                f"{self.calling} of {self.answers} answers call a tool and say nothing; --json has the calls"
            )
