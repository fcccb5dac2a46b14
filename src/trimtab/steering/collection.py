"""Several steerings: the folder they lie in, and which of them goes with which prompt.

A folder of steerings has one in each subfolder, whose name becomes its own. What begins with a point is left alone.
"""

from __future__ import annotations

import functools
import json
import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from trimtab.errors import SteeringError
from trimtab.steering import hub
from trimtab.steering.folder import STEERING

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.steering.record import ModelIdentity
    from trimtab.steering.steering import Steering

Match = Literal["exact", "type"]
MATCHES: tuple[Match, ...] = get_args(Match)


class SteeringFolder:
    """A folder that is a steering, or that has some.

    `name` is what to call it if it is one.
    """

    def __init__(self, path: str | Path, name: str | None = None) -> None:
        self.path = Path(path).expanduser()
        self.name = self.path.name if name is None else name

    @classmethod
    def found(cls, place: str | Path) -> SteeringFolder:
        """The folder of that path or, where there is none, that of `owner/name` or `owner/name@revision`."""
        repo, revision = hub.split(place)
        if os.path.lexists(Path(place).expanduser()) or not hub.named(repo):
            return cls(place)
        return cls(hub.fetch(repo, revision), Path(repo).name)

    @property
    def is_one(self) -> bool:
        """Whether it is a steering itself."""
        return os.path.lexists(STEERING.document_path(self.path))

    def subfolders(self) -> list[Path]:
        """The subfolders, each of which should be a steering, by name."""
        if not _is_folder(self.path):
            raise SteeringError(
                f"there is no folder {self.path}; give the one whose subfolders each hold a steering, such as those "
                "that `trimtab learn` writes"
            )
        if self.is_one:
            raise SteeringError(
                f"{self.path} is a steering itself; give the folder around it, where each subfolder is a steering "
                "under its own name"
            )
        return self._inside()

    def places(self) -> dict[str, Path]:
        """The folder itself, or the subfolders that are steerings, by name."""
        if not _is_folder(self.path) or self.is_one:
            return {self.name: self.path}  # loading it says what is wrong with it, if anything is
        found = {one.name: one for one in self._inside() if SteeringFolder(one).is_one}
        if not found:
            raise SteeringError(
                f"there is no steering in {self.path}; give a folder with steering.json, or one with such folders in it"
            )
        return found

    def load(self, model: ModelIdentity | None = None) -> dict[str, Steering]:
        """Its steerings by name."""
        from trimtab.steering.steering import Steering

        return {name: Steering.load(place, model) for name, place in self.places().items()}

    def _inside(self) -> list[Path]:
        try:
            found = sorted(one for one in self.path.iterdir() if not one.name.startswith("."))
        except OSError as error:
            raise SteeringError(f"cannot read {self.path}: {error.strerror or error}") from error
        return [one for one in found if _is_folder(one)]


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # a name that is too long, a folder that may not be looked into
        return False


class SteeringSet:
    """Steerings by what they are for.

    For a prompt with several instructions the steering made for just these comes first; else those of the single
    instructions are added up. A steering whose record names no instruction (made by hand) fits every prompt, and must
    be the only one.

    Args:
        steerings: All of one model.
        match: `exact`: the instruction and its parameters are the same (`include` and IFEval's `keywords` of one word
            list are); `type`: the parameters may differ, as where one vector stands for "some number of bullets".
    """

    def __init__(self, steerings: Sequence[Steering], match: Match = "exact") -> None:
        if match not in MATCHES:
            raise SteeringError(f"steerings match by {' or '.join(MATCHES)}, not by {match!r}")
        if not steerings:
            raise SteeringError("there is no steering to evaluate; give at least one")
        self.steerings = tuple(steerings)
        self._match = match
        self._by_key: dict[frozenset[str], Steering] = {}
        self._made: dict[frozenset[str], Steering | None] = {}
        for steering in steerings:
            wanted = steering.record.instructions
            if not wanted and len(steerings) > 1:
                raise SteeringError(
                    f"the record of '{steering.name}' names no instruction, so it would fit every prompt; "
                    "evaluate it on its own"
                )
            key = frozenset(_key(item["name"], item["params"], match) for item in wanted)
            if key in self._by_key:
                other = self._by_key[key].name
                raise SteeringError(
                    f"'{other}' and '{steering.name}' are for the same instructions; give one of them"
                    + ("" if match == "exact" else ", or match by exact parameters")
                )
            self._by_key[key] = steering

    @classmethod
    def load(
        cls, folders: Sequence[str | Path], model: ModelIdentity | None = None, match: Match = "exact"
    ) -> SteeringSet:
        """Those of several places, each as of `SteeringFolder.found`; otherwise as the constructor."""
        return cls(
            [one for folder in folders for one in SteeringFolder.found(folder).load(model).values()], match
        )

    def for_instructions(self, instructions: Sequence[Instruction]) -> Steering | None:
        """The steering for a prompt with these instructions, or None where one of them has none.

        The same instructions always get the same object.
        """
        if frozenset() in self._by_key:
            return self._by_key[frozenset()]
        keys = [_key(one.name, one.params, self._match) for one in instructions]
        whole = frozenset(keys)
        if whole not in self._made:
            parts = [self._by_key.get(frozenset({key})) for key in dict.fromkeys(keys)]
            self._made[whole] = self._by_key.get(whole) or _sum(parts)
        return self._made[whole]


def _sum(parts: Sequence[Steering | None]) -> Steering | None:
    found = [part for part in parts if part is not None]
    return functools.reduce(operator.add, found) if found and len(found) == len(parts) else None


# IFEval's name of an instruction, and of its field, for what this project's own asks for too.
_OURS = {
    "keywords": "include",
    "forbidden_words": "exclude",
    "number_sentences": "sentences",
    "number_words": "words",
}
_FIELDS = {
    "include": "keywords",
    "exclude": "forbidden_words",
    "sentences": "num_sentences",
    "words": "num_words",
}


def _key(name: str, params: Mapping[str, Any], match: Match) -> str:
    """What an instruction asks for; IFEval's way to say it and this project's own give one key."""
    name = _OURS.get(name, name)
    if match == "type":
        return name
    if name in ("include", "exclude"):
        params = {"words": _words(params, _FIELDS[name])}
    elif name in ("sentences", "words"):
        low, high = _amount(params, _FIELDS[name])
        params = {"low": low, "high": high}
    return f"{name} {json.dumps(params, sort_keys=True)}"


def _words(params: Mapping[str, Any], field: str) -> list[str]:
    listed = [*params.get(field, []), *(params.get("words") or []), params.get("word") or ""]
    return sorted({word.strip().lower() for word in listed if word})


def _amount(params: Mapping[str, Any], field: str) -> tuple[Any, Any]:
    if field in params:
        less = params.get("relation") == "less than"
        return (None, params[field] - 1) if less else (params[field], None)
    if params.get("exactly") is not None:
        return params["exactly"], params["exactly"]
    return params.get("at_least"), params.get("at_most")
