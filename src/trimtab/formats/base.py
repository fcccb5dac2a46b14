"""What a format is: how another library keeps a steering, and what becomes of ours in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trimtab.errors import SteeringError
from trimtab.steering.edits import Edit

__all__ = ["InexpressibleError", "Content", "Format"]


class InexpressibleError(SteeringError):
    """A format cannot say what a steering does, though it could say something near to it."""


@dataclass(frozen=True)
class Content:
    """What was found in a file.

    Attributes:
        edits: The edits that do what the file does where it is at home.
        settings: What else the file says, plain JSON; kept in the steering's record.
        notes: What the user should know, a sentence each; kept in the record too.
    """

    edits: tuple[Edit, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """A kind of file, or of folder, in which another library keeps a steering.

    Attributes:
        name: What `--format` calls it.
        summary: Whose it is, in a line.
        recognises: `(path) -> bool`: whether a file or folder is of this kind, by its content. It raises nothing and
            reads no more than a stated part.
        read: `(path, model, **options) -> Content`. It raises `SteeringError` for what is damaged, and for what our
            edits cannot say.
        write: `(steering, path, **options) -> str`: writes it, and gives one line that says how it is used there. It
            raises `SteeringError` for what the format cannot say, with the nearest thing that could be said.
        says_when: It can say when a steering acts, where that is decided as CAST decides.
        pickled: Its files hold pickles of whatever their makers wanted, so that none is read unasked.
    """

    name: str
    summary: str
    recognises: Callable[[Path], bool]
    read: Callable[..., Content]
    write: Callable[..., str]
    says_when: bool = False
    pickled: bool = False

    def options(self, verb: str) -> dict[str, Any]:
        """The options of `read` or `write` with their defaults: its keyword-only parameters."""
        parameters = inspect.signature(getattr(self, verb)).parameters.values()
        return {one.name: one.default for one in parameters if one.kind is one.KEYWORD_ONLY}

    def check_trusted(self, path: str | Path, allow_pickle: bool) -> None:
        """Refuses a file that holds pickles, before anything is read of it, unless that was allowed.

        Raises:
            SteeringError: It was not.
        """
        if self.pickled and not allow_pickle:
            raise SteeringError(
                f"{path} is of {self.name}, whose tables are pickled, and files of strangers are not unpickled; if you "
                "know who made it, say so: --allow-pickle (in Python allow_pickle=True)"
            )

    def check(self, verb: str, options: Mapping[str, Any]) -> None:
        """Refuses an option that there is not.

        Raises:
            SteeringError: The message names those that there are.
        """
        known = self.options(verb)
        for name in options:
            if name not in known:
                takes = f"it takes {', '.join(known)}" if known else "it takes none"
                raise SteeringError(f"to {verb} {self.name} there is no option {name!r:.60}; {takes}")
