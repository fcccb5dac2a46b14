"""The methods of learning: what `trimtab learn --method` knows, and where another package adds its own.

A method is a function, and gives one of two things:

- `directions`: `(model, pairs, instruction, *, blocks, batch_size, progress) -> Directions`, from the prompt pairs of
  one instruction. At which block and how strongly a direction is applied is then searched for on validation queries.
- `steering`: `(model, queries, instructions, ...) -> Steering`, or something with a `steering`, such as `Distilled`.
  Of the keywords of `distill` (`validation`, `blocks`, `schedule`, `progress`, ...) it is given those that it takes.

One of this project stands in `_OWN`; one of another package is a `Method` in its entry point group `trimtab.methods`.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from trimtab import arguments
from trimtab.errors import TrimtabError
from trimtab.plugins import load_each

ENTRY_POINT_GROUP = "trimtab.methods"

Gives = Literal["directions", "steering"]


@dataclass(frozen=True)
class Method:
    """A way to learn.

    Attributes:
        name: What it is called.
        summary: What it does, in a line.
        gives: What its function gives; see above.
        function: The function, or where it is (`"package.module:name"`), to be imported when it is called.
        gradients: Whether it needs an engine that gives gradients.
    """

    name: str
    summary: str
    gives: Gives
    function: Callable[..., Any] | str
    gradients: bool = False

    def __call__(self, *values: Any, **settings: Any) -> Any:
        """Learns."""
        return self._callable()(*values, **settings)

    def takes(self, keyword: str) -> bool:
        """Whether the function can be given this keyword."""
        parameters = inspect.signature(self._callable()).parameters
        return keyword in parameters or any(one.kind is one.VAR_KEYWORD for one in parameters.values())

    def _callable(self) -> Callable[..., Any]:
        if not isinstance(self.function, str):
            return self.function
        module, name = self.function.split(":")
        found: Callable[..., Any] = getattr(import_module(module), name)
        return found


_OWN = (
    Method(
        "distill", "Edits distilled from the model's own answers.", "steering", "trimtab.learn:distill", True
    ),
    Method("mean_difference", "The direction between means.", "directions", "trimtab.learn:mean_difference"),
    Method(
        "contrast",
        "The direction between contrast examples, of an instruction that has some.",
        "directions",
        "trimtab.learn:contrast",
    ),
    Method("pca", "The main axis of the differences of pairs.", "directions", "trimtab.learn:pca"),
)


def methods() -> tuple[Method, ...]:
    """All methods: those of this project, then those that other packages declare, each name once."""
    known = {method.name: method for method in _OWN}
    for method in _declared():
        known.setdefault(method.name, method)
    return tuple(known.values())


def get(name: str, gives: Gives | None = None) -> Method:
    """The method of that name.

    Raises:
        TrimtabError: There is none, or it gives something else.
    """
    arguments.text(name, "the name of a method", TrimtabError)
    known = {method.name: method for method in methods() if gives in (None, method.gives)}
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise TrimtabError(f"there is no method {name!r}{f' that gives {gives}' if gives else ''}; {hint}")


def _declared() -> list[Method]:
    """What installed packages declare."""
    found: list[Method] = []

    def take(method: Any) -> None:
        if not isinstance(method, Method):
            raise TypeError(f"a learn.methods.Method is wanted, and this is a {type(method).__name__}")
        if any(method.name == one.name for one in _OWN):
            raise ValueError(f"the name {method.name!r} is taken")
        found.append(method)

    load_each(ENTRY_POINT_GROUP, "the method", take)
    return found
