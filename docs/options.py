"""Write the tables of options in cli.md from the commands themselves: `python docs/options.py`."""

from __future__ import annotations

import enum
import re
from pathlib import Path
from typing import Any

import typer

from trimtab.cli.app import app

PAGE = Path(__file__).parent / "cli.md"


def table(command: Any) -> str:
    """The arguments and options of one command as a Markdown table."""
    rows = ["| option | default | meaning |", "|---|---|---|"]
    for parameter in command.params:
        names = ", ".join(f"`{name}`" for name in parameter.opts)
        if parameter.param_type_name == "argument":
            names = f"`{(parameter.metavar or parameter.name).upper()}`"
        elif parameter.metavar:
            names += f" {parameter.metavar}"
        cells = [names, default(parameter), parameter.help or ""]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)


def default(parameter: Any) -> str:
    """What holds when an option is left out."""
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    value = parameter.default
    if value is None or value is False:
        return ""
    return f"`{value.value if isinstance(value, enum.Enum) else value}`"


def render(page: str) -> str:
    """The page with every table between its markers written anew."""
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]

    def replace(match: re.Match[str]) -> str:
        return f"{match[1]}\n\n{table(commands[match[2]])}\n\n{match[3]}"

    return re.sub(r"(<!-- options (\w+) -->).*?(<!-- end -->)", replace, page, flags=re.DOTALL)


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
