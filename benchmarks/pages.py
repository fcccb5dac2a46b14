"""What a benchmark writes: its result, the table of that, and the table's place in a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimtab.errors import TrimtabError
from trimtab.files import write_text

RESULT, TABLE = "result.json", "table.md"


def line(cells: Sequence[str]) -> str:
    """A row of a table in Markdown."""
    return f"| {' | '.join(cells)} |"


def heading(titles: Sequence[str], words: int) -> list[str]:
    """The titles of a table in Markdown and the rule below: the first columns are words, the others numbers."""
    return [line(titles), line([*["---"] * words, *["---:"] * (len(titles) - words)])]


def into(page: str, place: str, text: str, end: str = "end") -> str:
    """The text of a page with a table in its place, which is between two comments.

    Args:
        page: The page.
        place: What the comment in front says, such as `real smollm2`.
        text: The table.
        end: What the comment behind says.

    Raises:
        TrimtabError: The page has no such place.
    """
    opened, closed = f"<!-- {place} -->", f"<!-- {end} -->"
    before, found, rest = page.partition(opened)
    _, ended, after = rest.partition(closed)
    if not found or not ended:
        raise TrimtabError(f"there is no place {opened} ... {closed} in the page")
    return f"{before}{found}\n{text}\n{ended}{after}"


def keep(folder: Path, result: Mapping[str, Any], table: str) -> None:
    """Writes a result and its table into a folder."""
    write_text(folder / RESULT, json.dumps(result, ensure_ascii=False, indent=1) + "\n", make_folder=True)
    write_text(folder / TABLE, table + "\n")
