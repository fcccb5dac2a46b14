"""What `import` and `export` share: which format, and its own options."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.files import json_value

if TYPE_CHECKING:
    from trimtab.formats.base import Format


def _list_formats(value: str | None) -> str | None:
    if value != "list":
        return value
    from trimtab.formats import formats

    for one in formats():
        typer.echo(f"{one.name:20} {one.summary}")
        for verb, word in (("read", "import"), ("write", "export")):
            for name, default in one.options(verb).items():
                typer.echo(f"{'':20}   {word} --option {name}={_shown(default)}")
    raise typer.Exit


def _shown(default: Any) -> str:
    return default if isinstance(default, str) else json.dumps(default)


FormatOption = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        callback=_list_formats,
        is_eager=True,
        help="The format; list shows all, with their options.",
        show_default=False,
    ),
]
OptionOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help="An option of the format. May be repeated."),
]


def options_of(given: Sequence[str] | None, kind: Format, verb: str) -> dict[str, Any]:
    """The options of a format, `NAME=VALUE` each: a value is JSON, or else text.

    Raises:
        BadParameter: One has no value.
        SteeringError: The format has no option of the name.
    """
    found: dict[str, Any] = {}
    for text in given or ():
        name, sign, value = text.partition("=")
        if not sign:
            raise typer.BadParameter(f"--option takes NAME=VALUE, not {text!r:.60}")
        try:
            found[name] = json_value(value)
        except ValueError:
            found[name] = value
    kind.check(verb, found)
    return found
