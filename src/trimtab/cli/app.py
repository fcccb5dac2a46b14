"""The `trimtab` command: registers the commands and turns mistakes into one clear line."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

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
from trimtab.cli.wording import worded
from trimtab.errors import TrimtabError, is_out_of_memory


class Commands(TyperGroup):
    """The group of all commands, with the exit codes they share.

    0: done. 1: the command ran and found something wrong. 2: a mistake of the user (`TrimtabError` or usage).
    130: interrupted.
    """

    def invoke(self, ctx: Any) -> Any:
        """Run one command; a `TrimtabError` becomes `error: ...` on standard error."""
        try:
            return super().invoke(ctx)
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


app = typer.Typer(
    name="trimtab",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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
    app.command(module.__name__.rpartition(".")[2].rstrip("_"))(flat(module.command))


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
