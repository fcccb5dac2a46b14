"""The `trimtab` command: registers the commands and turns mistakes into one clear line."""

from __future__ import annotations

import contextlib
import inspect as inspection
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from trimtab._version import __version__
from trimtab.cli import (
    agreement,
    architectures,
    bake,
    check,
    claims,
    compose,
    demo,
    doctor,
    evaluate,
    export,
    fetch,
    follow,
    generate,
    import_,
    inspect,
    instructions,
    learn,
    play,
    pull,
    push,
    reproduce,
    serve,
    transfer,
    tune,
    when,
)
from trimtab.cli.models import close_engines
from trimtab.cli.options import flat
from trimtab.cli.wording import shown, worded
from trimtab.errors import TrimtabError, is_out_of_memory

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
_WIDE = 100
_NARROW, _LEAST = 60, 24


class Command(TyperCommand):
    """A command whose help has boxes where the terminal has room for them: in a narrow one they cut options' names."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what stands behind the name; what is wrong with it is of this command."""
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            if getattr(error, "ctx", None) is None:
                error.ctx = ctx  # type: ignore[attr-defined]
            raise

    def get_help(self, ctx: Any) -> str:
        """The help, as wide as the terminal."""
        return super().get_help(_fitted(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, in a narrow terminal as plain text."""
        with _plain_if_narrow(self):
            super().format_help(ctx, formatter)


class Commands(TyperGroup):
    """The group of all commands, with the exit codes they share.

    0: done. 1: the command ran and found something wrong. 2: a mistake of the user (`TrimtabError` or usage).
    130: interrupted.
    """

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read what stands before the name of a command."""
        try:
            return super().make_context(*arguments, **options)
        except _UsageError as error:
            raise _told(error) from error

    def get_help(self, ctx: Any) -> str:
        """The help, as wide as the terminal."""
        return super().get_help(_fitted(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help, in a narrow terminal as plain text."""
        with _plain_if_narrow(self):
            super().format_help(ctx, formatter)

    def invoke(self, ctx: Any) -> Any:
        """Run one command; a `TrimtabError` becomes `error: ...` on standard error."""
        try:
            return super().invoke(ctx)
        except _UsageError as error:
            raise _told(error) from error
        except TrimtabError as error:
            typer.echo(f"error: {worded(error)}", err=True)
            raise typer.Exit(2) from error
        except (MemoryError, RuntimeError, OSError, ImportError) as error:
            if isinstance(error, FileNotFoundError) and not _folder_is_there():
                typer.echo("error: the folder that this runs in is gone; change to another", err=True)
                raise typer.Exit(2) from error
            if not is_out_of_memory(error):
                raise
            typer.echo(
                "error: there is not enough memory; take fewer rows at once (--batch-size), shorter answers, or a "
                "smaller model or dtype",
                err=True,
            )
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(130) from error
        finally:
            close_engines()
            claims.release()


def _fitted(ctx: Any) -> Any:
    """A context whose plain help is no wider than the terminal; in a very narrow one, words stand below the names."""
    columns = shutil.get_terminal_size().columns
    if columns < _NARROW:
        ctx.terminal_width = max(columns - 2, _LEAST)
        ctx.formatter_class = _stacked(type(ctx).formatter_class)
    return ctx


@cache
def _stacked(kind: Any) -> Any:
    class Stacked(kind):  # type: ignore[misc]
        def write_dl(self, rows: Any, col_max: int = 4, col_spacing: int = 2) -> None:
            super().write_dl(rows, min(col_max, 4), col_spacing)

    return Stacked


@contextlib.contextmanager
def _plain_if_narrow(command: TyperCommand | TyperGroup) -> Iterator[None]:
    mode = command.rich_markup_mode
    command.rich_markup_mode = mode if shutil.get_terminal_size().columns >= _WIDE else None
    try:
        yield
    finally:
        command.rich_markup_mode = mode


def _told(error: Any) -> Exception:
    """A mistake in the command line, said in one line; where it is that nothing was said, the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.format_message(), nl=False)  # empty where the help was shown in boxes
        return typer.Exit(error.exit_code)
    message = " ".join(error.format_message().split()).removeprefix("Invalid value: ").rstrip(".")
    if message[:1].isupper() and message[1:2].islower():
        message = message[0].lower() + message[1:]
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", None) or "trimtab"
    typer.echo(f"error: {shown(message)}; see {path} --help", err=True)
    return typer.Exit(error.exit_code)


app = typer.Typer(
    name="trimtab",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _summary(command: Callable[..., Any]) -> str:
    """The first sentence of what a command says of itself: all of it, where others cut it to the line."""
    paragraph = " ".join((inspection.getdoc(command) or "").partition("\n\n")[0].split())
    return paragraph.partition(". ")[0].rstrip(".")


def _folder_is_there() -> bool:
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"trimtab {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave."),
    ] = False,
) -> None:
    """Learn what an instruction does inside a language model, then apply it without saying it."""


# In the order of a first visit. Each module has one function, `command`, and imports what is heavy inside it.
for module in (
    demo,
    play,
    instructions,
    check,
    agreement,
    learn,
    compose,
    tune,
    generate,
    follow,
    when,
    evaluate,
    push,
    pull,
    import_,
    export,
    bake,
    transfer,
    reproduce,
    serve,
    fetch,
    architectures,
    inspect,
    doctor,
):
    app.command(
        module.__name__.rpartition(".")[2].rstrip("_"), cls=Command, short_help=_summary(module.command)
    )(flat(module.command))


def main() -> None:
    """Run the command line (the entry point of the `trimtab` script)."""
    # A terminal or pipe that cannot show a character gets an escape instead of a crash halfway through.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    # Where torchao is installed, transformers imports it, and it warns of kernels for other machines.
    for name in ("torchao", "torch.utils._pytree"):
        logging.getLogger(name).setLevel(logging.ERROR)
    app(prog_name="trimtab")
