"""Regular expressions that somebody wrote: whatever they are, a search in a text comes to an end."""

from __future__ import annotations

from typing import Any

from trimtab.errors import TrimtabError

__all__ = ["SECONDS", "UserPattern"]

SECONDS = 2.0
"""How long one search may take; what backtracks without end takes years."""


class UserPattern:
    """A regular expression of a user, in the syntax of the package `regex`, a superset of that of `re`.

    Args:
        pattern: The expression.
        error: What to raise for it.
        ignore_case: Whether letters match in any case.

    Raises:
        TrimtabError: Of the class given: it is no regular expression.
    """

    def __init__(
        self, pattern: str, error: type[TrimtabError] = TrimtabError, *, ignore_case: bool = False
    ) -> None:
        import regex

        self.pattern = pattern
        self._error = error
        try:
            self._compiled: Any = regex.compile(pattern, regex.IGNORECASE if ignore_case else 0)
        except (regex.error, TypeError, ValueError, OverflowError, RecursionError) as failure:
            raise error(f"the pattern {pattern!r:.80} is not a regular expression: {failure}") from failure

    def found_in(self, text: str, what: str = "a text") -> bool:
        """Whether it matches somewhere in a text; see `first_in`."""
        return self.first_in(text, what) is not None

    def first_in(self, text: str, what: str = "a text") -> str | None:
        """The first part of a text that it matches, or None; other threads run meanwhile.

        Args:
            text: Where to look.
            what: What the text is, for the message.

        Raises:
            TrimtabError: Of the class given: it takes too long.
        """
        try:
            found = self._compiled.search(text, timeout=SECONDS, concurrent=True)
        except TimeoutError:
            raise self._error(
                f"the pattern {self.pattern!r:.80} took over {SECONDS:g} s on {what} of {len(text)} characters; write "
                "it with less backtracking"
            ) from None
        return None if found is None else str(found[0])
