"""Instructions put into the prompts of a task: each in one of its test phrasings, the same one for the same text."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from trimtab.errors import PromptError
from trimtab.instructions import Instruction


class Telling:
    """Puts instructions into prompts.

    Args:
        instructions: The instructions; none leaves prompts as they are.
        seed: Which phrasing meets which prompt.
    """

    def __init__(self, instructions: Sequence[Instruction], seed: int) -> None:
        self.instructions = tuple(instructions)
        self._seed = seed

    @property
    def mark(self) -> str:
        """What tells prompts with these instructions from others, as a name may have it; empty without any."""
        if not self.instructions:
            return ""
        told = " ".join([str(self._seed), *(one.label for one in self.instructions)])
        return f"{zlib.crc32(told.encode()):08x}"

    def in_chat(self, chat: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """A chat, with the instructions behind what the user said last."""
        told = [dict(message) for message in chat]
        for message in reversed(told):
            if message["role"] == "user":
                message["content"] = " ".join([message["content"], *self._phrasings(message["content"])])
                break
        return told

    def in_front(self, context: str) -> str:
        """A bare context, with the instructions in front, unless it has them already.

        That is a chat which an earlier run prepared and kept.
        """
        if all(any(said in context for said in one.phrasings("test")) for one in self.instructions):
            return context
        return "\n\n".join([" ".join(self._phrasings(context)), *([context] if context else [])])

    def _phrasings(self, text: str) -> list[str]:
        drawn = []
        for instruction in self.instructions:
            phrasings = instruction.for_query(text).phrasings("test")
            if not phrasings:
                raise PromptError(
                    f"the instruction {instruction.label} has no test phrasings; add some to it"
                )
            drawn.append(phrasings[zlib.crc32(f"{self._seed}/{text}".encode()) % len(phrasings)])
        return drawn
