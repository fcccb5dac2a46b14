"""What every command does with its results: show them to a person, or hand them to a program.

A command takes one `Output`, which is its options `--json` and `--quiet`, and sends everything through it, so that
`--json -` leaves nothing but JSON on standard output and `--quiet` nothing that was not asked for.
"""

from __future__ import annotations

import codecs
import dataclasses
import json as json_format
import math
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from trimtab.cli.wording import HarmlessConsole
from trimtab.errors import TrimtabError
from trimtab.files import check_name, check_writable, decoded, write_text
from trimtab.progress import Tell, shown


def _json_path(value: str | None) -> str | None:
    """Refuse a `--json` target that cannot be written before any work is done."""
    if value is not None and value != "-":
        path = Path(value)
        check_name(path)
        if path.is_dir():
            raise typer.BadParameter(
                f"{value} is a folder; give the name of a file, or - for standard output"
            )
        if not path.absolute().parent.is_dir():
            raise typer.BadParameter(f"the folder {path.absolute().parent} does not exist; make it first")
        check_writable(path)
    return value


def standard_input() -> str:
    """The text that comes by standard input.

    Raises:
        TrimtabError: It is closed, or not UTF-8.
    """
    if sys.stdin is None:
        raise TrimtabError("standard input is closed; pipe something in, or give it as an argument or a file")
    try:
        return decoded(sys.stdin.buffer.read(), "standard input")
    except OSError as error:
        raise TrimtabError(f"cannot read standard input: {error.strerror or error}") from error


JsonOption = Annotated[
    str | None,
    typer.Option(
        "--json",
        metavar="PATH",
        callback=_json_path,
        help="Write the result as JSON to PATH, or to standard output for '-'.",
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", "-q", help="Show no progress, tables or notes; errors are still shown.")
]


@dataclass
class Output:
    """Where the results of one command go."""

    json: JsonOption = None
    quiet: QuietOption = False
    console: Console = field(init=False)
    errors: Console = field(init=False)

    def __post_init__(self) -> None:
        self.console = HarmlessConsole(highlight=False)
        self.errors = HarmlessConsole(stderr=True, highlight=False)

    @property
    def speaks(self) -> bool:
        """True when standard output is for a person: neither `--quiet` nor `--json -`."""
        return not self.quiet and self.json != "-"

    @property
    def shows_progress(self) -> bool:
        """True when progress bars are welcome: standard error is a terminal and `--quiet` was not given."""
        return not self.quiet and self.errors.is_terminal

    def print(self, renderable: RenderableType = "", **options: Any) -> None:
        """Show something to a person; silent with `--quiet` and with `--json -`.

        Square brackets of a plain string are text, not markup.
        """
        if self.speaks:
            if isinstance(renderable, str):
                # A terminal wraps long lines itself; in a pipe or a file they stay whole.
                self.console.print(Text(renderable), soft_wrap=True, **options)
            else:
                self.console.print(renderable, **options)

    def note(self, message: str) -> None:
        """Tell a person something on the side, on standard error; silent with `--quiet`."""
        if not self.quiet:
            self.errors.print(Text(message), soft_wrap=True)

    def text(self, text: str, end: str = "\n") -> None:
        """Write the command's own result as bare text: also with `--quiet`, but never with `--json -`."""
        if self.json != "-":
            sys.stdout.write(text + end)
            sys.stdout.flush()

    def result(self, data: Any) -> None:
        """Hand the result to a program: one JSON document to the `--json` target; nothing without `--json`.

        Raises:
            TrimtabError: The file cannot be written. What was there before stays.
        """
        self._write(lambda: to_json(data, indent=2) + "\n")

    def lines(self, rows: Iterable[Any]) -> None:
        """Like `result`, but JSON Lines: one compact document for each row."""
        self._write(lambda: "".join(to_json(row) + "\n" for row in rows))

    def _write(self, render: Callable[[], str]) -> None:
        if self.json is None:
            return
        text = render()
        if self.json == "-":
            sys.stdout.write(text if _is_utf8(sys.stdout) else escaped(text))
            sys.stdout.flush()
        else:
            write_text(self.json, text)

    def progress(self) -> AbstractContextManager[Tell]:
        """Show on standard error how far long work is, while the block runs: a bar, or lines where nobody watches one.

        Gives what to tell; silent with `--quiet`.
        """
        return shown(not self.quiet, self.errors)


def to_json(data: Any, *, indent: int | None = None) -> str:
    """Render data as strict JSON in readable UTF-8; in ASCII where it holds halves of characters, which are no text.

    Args:
        data: Dictionaries, sequences, sets, numbers, strings, None, paths, numpy or torch scalars, dataclasses, and
            objects with a `to_dict` method.
        indent: Spaces per level; None for one line.

    Returns:
        The document, without a line break at its end.

    Raises:
        TypeError: Something in it has no JSON form.
    """
    text = json_format.dumps(_plain(data), ensure_ascii=False, indent=indent, allow_nan=False)
    return text if _is_whole(text) else escaped(text)


def escaped(document: str) -> str:
    """A JSON document in ASCII, with every other character as JSON escapes it."""
    return "".join(
        character if character < "\x80" else json_format.dumps(character)[1:-1] for character in document
    )


def _is_whole(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_utf8(stream: Any) -> bool:
    try:
        return codecs.lookup(stream.encoding or "utf-8").name == "utf-8"
    except (AttributeError, LookupError):
        return False


def _plain(value: Any) -> Any:
    """Reduce a value to what `json` writes strictly."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "to_dict"):
        return _plain(value.to_dict())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return [_plain(item) for item in sorted(value)]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no JSON form")
