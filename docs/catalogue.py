"""Write the table in instructions.md from the catalogue itself: `python docs/catalogue.py`."""

from __future__ import annotations

import re
from pathlib import Path

from trimtab import instructions
from trimtab.instructions import InstructionType

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


def render(page: str) -> str:
    """The page with the table between its markers written anew."""
    built_in = [kind for kind in instructions.catalogue() if kind.family != "custom" and kind.source is None]
    built_in.sort(key=lambda kind: (kind.ifeval_id is None, kind.family, kind.name))
    return re.sub(
        r"(<!-- catalogue -->).*?(<!-- end -->)",
        lambda match: f"{match[1]}\n\n{table(built_in)}\n\n{match[2]}",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
