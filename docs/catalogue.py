"""Write the table in instructions.md from the catalogue itself: `python docs/catalogue.py`."""

from __future__ import annotations

import re
from pathlib import Path

from trimtab import instructions
from trimtab.instructions import InstructionType

ABILITIES = ("constraint", "exact", "rewrite", "prefix_closed")
PAGE = Path(__file__).parent / "instructions.md"


def table(kinds: list[InstructionType]) -> str:
    """Name, IFEval id, parameters and meaning of each type as a Markdown table."""
    rows = ["| instruction | IFEval id | parameters | a response follows it when it |", "|---|---|---|---|"]
    for kind in kinds:
        parameters = ", ".join(f"`{parameter.name}`" for parameter in kind.parameters)
        ifeval_id = f"`{kind.ifeval_id}`" if kind.ifeval_id else ""
        meaning = kind.summary[0].lower() + kind.summary[1:].rstrip(".").replace("*", r"\*").replace(
            "<", "&lt;"
        )
        rows.append(f"| `{kind.name}` | {ifeval_id} | {parameters} | {meaning} |")
    return "\n".join(rows)


def abilities(kinds: list[InstructionType]) -> str:
    """Which types have a constraint, an exact one, a rewriting and checks that hold for beginnings."""
    rows = [
        "| instruction | constraint | `exact` | `rewrite` | `prefix_closed` |",
        "|---|---|---|---|---|",
    ]
    for kind in kinds:
        marks = ("yes" if name in kind.abilities else "" for name in ABILITIES)
        rows.append(f"| `{kind.name}` | {' | '.join(marks)} |")
    return "\n".join(rows)


def render(page: str) -> str:
    """The page with the tables between their markers written anew."""
    built_in = [kind for kind in instructions.catalogue() if kind.family != "custom" and kind.source is None]
    built_in.sort(key=lambda kind: (kind.ifeval_id is None, kind.family, kind.name))
    for marker, written in (("catalogue", table(built_in)), ("abilities", abilities(built_in))):
        page = re.sub(
            rf"(<!-- {marker} -->).*?(<!-- end -->)",
            lambda match, written=written: f"{match[1]}\n\n{written}\n\n{match[2]}",  # type: ignore[misc]
            page,
            flags=re.DOTALL,
        )
    return page


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
