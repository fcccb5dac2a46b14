"""Searches that were written down: the JSON of `trimtab tune` or `trimtab learn`, read for its heat map."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimtab.errors import InstructionError, TrimtabError
from trimtab.instructions import from_dict
from trimtab.report import heatmap

BESIDE = "search.json"
"""A search that lies in a steering's own folder under this name is found by itself."""


@dataclass(frozen=True)
class Tried:
    """One candidate, as the heat map shows it; see `trimtab.report.heatmap.Point`."""

    method: str
    block: int | None
    strength: float
    n: int
    good: float
    accepted: bool
    chosen: bool


def read(path: str | Path) -> tuple[str, list[Tried]]:
    """A search, from the document that a command wrote.

    Args:
        path: What `trimtab tune --json` or `trimtab learn --json` wrote.

    Returns:
        What the search was for, and its candidates, the best one first.

    Raises:
        TrimtabError: The file cannot be read, or holds no search.
    """
    file = Path(path)
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        named = document.get("instruction") or (document.get("instructions") or [{}])[0]
        tried = [_tried(values, best=not number) for number, values in enumerate(document["candidates"])]
    except OSError as error:
        raise TrimtabError(f"cannot read {file}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise TrimtabError(
            f"{file} holds no search; give what `trimtab tune --json` or `trimtab learn --json` wrote"
        ) from error
    if not tried:
        raise TrimtabError(
            f"the search in {file} has no candidates: block and strength were given, not searched"
        )
    return _label(named), tried


def drawings(paths: Sequence[str | Path]) -> list[tuple[str, str]]:
    """The heat maps of searches.

    Args:
        paths: As for `read`.

    Returns:
        What each search was for, and its map as an `<svg>` element.

    Raises:
        TrimtabError: As `read`.
    """
    found = [read(path) for path in paths]
    return [(label, heatmap.svg(tried, description=f"Search for {label}")) for label, tried in found]


def beside(folders: Sequence[str | Path]) -> list[Path]:
    """The searches that lie in the folders of steerings.

    Args:
        folders: Each the folder of a steering, or one that holds such folders.
    """
    places = [place for folder in folders for place in (Path(folder), *sorted(Path(folder).glob("*")))]
    return [place / BESIDE for place in places if (place / BESIDE).is_file()]


def _tried(values: dict[str, Any], *, best: bool) -> Tried:
    block = values.get("block")
    return Tried(
        method=str(values.get("application", "strength")),
        block=None if block is None else int(block),
        strength=float(values["strength"]),
        n=int(values["n"]),
        good=float(values["good"]),
        accepted=not values.get("rejected", False),
        chosen=best and not values.get("rejected", False),
    )


def _label(named: Any) -> str:
    try:
        return from_dict(named).label
    except InstructionError:  # of a plug-in that is not installed here, or of nothing
        return str(named.get("name", "a search"))
