"""The mistakes a user can make and mend.

Everything the library raises on purpose derives from `TrimtabError`. Its text is one line that says what was wrong,
what was expected and what to do; the command line prints exactly that line and exits with code 2.
"""

from __future__ import annotations

_LONGEST = 1200


class TrimtabError(Exception):
    """A mistake the user can mend. `str(error)` is always a single line, of no more than 1,200 characters."""

    def __init__(self, message: object = "") -> None:
        """Keep the message as one line.

        Args:
            message: What was wrong, what was expected, what to do. Line breaks (a quoted library message often
                has some) become spaces, so that one error stays one line in a log or on a terminal. Of a very
                long one, which quotes something long, the middle is left out.
        """
        text = " ".join(str(message).split())
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST * 2 // 3]} [...] {text[-_LONGEST // 4 :]}"
        super().__init__(text)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had: torch has an error of its own for that of an accelerator.

    On a CPU there are only words, and Python's own say it of a library that could not be loaded, too.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    words = ("can't allocate memory", "cannot allocate memory", "failed to map segment")
    return isinstance(error, RuntimeError | OSError | ImportError) and any(
        one in str(error).lower() for one in words
    )


class InstructionError(TrimtabError):
    """An instruction that does not exist, or parameters it cannot take."""


class PromptError(TrimtabError):
    """Queries, chats or prompt files that cannot be used."""


class SteeringError(TrimtabError):
    """A steering that is damaged, foreign, impossible, or made for another model."""


class ModelError(TrimtabError):
    """A model that cannot be loaded, or cannot do what was asked of it."""
