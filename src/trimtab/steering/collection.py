"""Which steering goes with which prompt: saved steerings, found by the instructions their records name."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from trimtab.errors import SteeringError

if TYPE_CHECKING:
    from trimtab.instructions import Instruction
    from trimtab.steering.record import ModelIdentity
    from trimtab.steering.steering import Steering

Match = Literal["exact", "type"]
MATCHES: tuple[Match, ...] = get_args(Match)


class SteeringSet:
    """Steerings by what they are for.

    For a prompt with several instructions the steering made for just these comes first; else those of the single
    instructions are added up. A steering whose record names no instruction (made by hand) fits every prompt, and must
    be the only one.

    Args:
        steerings: All of one model.
        match: `exact`: the instruction and its parameters are the same (`include` and IFEval's `keywords` of one word
            list are); `type`: the parameters may differ, as where one vector stands for "some number of bullets".

    Raises:
        SteeringError: There are none, two are for the same, or one for everything is among others.
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
        """Reads steerings from their folders, or from folders that hold such folders.

        Args:
            folders: Each holds one steering, or folders with one each, as `trimtab demo` leaves them.
            model: The model they must be for; None does not ask.
            match: As in the constructor.

        Raises:
            SteeringError: A folder holds none, one is damaged or for another model, or as in the constructor.
        """
        from trimtab.steering.steering import Steering

        found = [Steering.load(place, model) for folder in folders for place in _places(Path(folder))]
        return cls(found, match)

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


def _places(folder: Path) -> list[Path]:
    """The folder itself, or the ones in it, that hold a steering."""
    from trimtab.steering.folder import STEERING

    try:
        if not folder.is_dir() or STEERING.document_path(folder).exists():
            return [folder]  # loading it says what is wrong with it, if anything is
        inside = sorted(place for place in folder.iterdir() if STEERING.document_path(place).exists())
    except OSError as error:
        raise SteeringError(f"cannot read {folder}: {error.strerror or error}") from error
    if not inside:
        raise SteeringError(
            f"there is no steering in {folder}; give a folder with steering.json, or one with such folders in it"
        )
    return inside


def _key(name: str, params: Mapping[str, Any], match: Match) -> str:
    """What an instruction asks for; IFEval's way to say it and this project's own give one key."""
    name, params = _COUNTERPARTS.get(name, lambda given: (name, given))(params)
    return name if match == "type" else f"{name} {json.dumps(params, sort_keys=True)}"


def _words_of(name: str, field: str) -> Any:
    def normal(params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        listed = [*params.get(field, []), *(params.get("words") or [])]
        if params.get("word"):
            listed.append(params["word"])
        return name, {"words": sorted({word.strip().lower() for word in listed})}

    return normal


def _amount_of(name: str, field: str) -> Any:
    def normal(params: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        low, high = params.get("at_least"), params.get("at_most")
        if params.get("exactly") is not None:
            low = high = params["exactly"]
        if field in params:
            less = params.get("relation") == "less than"
            low, high = (None, params[field] - 1) if less else (params[field], None)
        return name, {"low": low, "high": high}

    return normal


_COUNTERPARTS = {
    "include": _words_of("include", "keywords"),
    "keywords": _words_of("include", "keywords"),
    "exclude": _words_of("exclude", "forbidden_words"),
    "forbidden_words": _words_of("exclude", "forbidden_words"),
    "sentences": _amount_of("sentences", "num_sentences"),
    "number_sentences": _amount_of("sentences", "num_sentences"),
    "words": _amount_of("words", "num_words"),
    "number_words": _amount_of("words", "num_words"),
}
