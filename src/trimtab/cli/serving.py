"""Options of a server: what it serves, where it listens and for whom, and how much it takes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.steerings import served_folder

if TYPE_CHECKING:
    from trimtab.server.limits import Limits

_PANEL = "How much is taken on"

ServedModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="nano, smollm2 (see trimtab fetch), a model of the Hub, a folder with one, or a GGUF file.",
    ),
]


@dataclass(frozen=True)
class LimitOptions:
    """How much the embedded server takes on."""

    max_rows: Annotated[
        int | None,
        typer.Option(
            min=1, help="Answers that are written at once.", show_default="32", rich_help_panel=_PANEL
        ),
    ] = None
    max_waiting: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Answers that may wait for a place; more are refused (429).",
            show_default="256",
            rich_help_panel=_PANEL,
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Tokens of a prompt and its answer together.",
            show_default="the model's context",
            rich_help_panel=_PANEL,
        ),
    ] = None
    max_body_mib: Annotated[
        int | None,
        typer.Option(min=1, help="The largest request, in MiB.", show_default="64", rich_help_panel=_PANEL),
    ] = None
    timeout: Annotated[
        int | None,
        typer.Option(
            min=1, help="Seconds that a request may take.", show_default="600", rich_help_panel=_PANEL
        ),
    ] = None

    def limits(self) -> Limits:
        """What they come to."""
        from trimtab.server.limits import MIB, Limits

        given = {
            "rows": self.max_rows,
            "waiting": self.max_waiting,
            "tokens": self.max_tokens,
            "body_bytes": None if self.max_body_mib is None else self.max_body_mib * MIB,
            "seconds": self.timeout,
        }
        return Limits(**{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True)
class Address:
    """Where a server listens, and for whom."""

    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is all of the machine's.")] = (
        "127.0.0.1"
    )
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8000
    api_key: Annotated[
        str | None,
        typer.Option(
            "--api-key",
            envvar="TRIMTAB_API_KEY",
            metavar="KEY",
            help="What clients must send as their key; in the environment, nobody sees it in the list of processes.",
        ),
    ] = None
    no_api_key: Annotated[
        bool, typer.Option("--no-api-key", help="Let other machines ask without a key.")
    ] = False
    allowed_origins: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Another site whose pages may use the server. May be repeated."),
    ] = None


@dataclass(frozen=True)
class Steerings:
    """Which steerings a server has, and who may change that."""

    steerings: Annotated[
        str | None,
        typer.Option(
            "--steerings",
            "-s",
            metavar="FOLDER[,DIR]",
            help="Its subfolders are the steerings, under their names; or several folders, steerings and owner/name of "
            "the Hub.",
        ),
    ] = None
    gates: Annotated[
        int,
        typer.Option(
            min=0,
            max=64,
            help="Gated edits that one request may have in one block; 0 for additions only.",
        ),
    ] = 4
    limit: Annotated[int, typer.Option(min=1, help="The most steerings at once.")] = 1000
    limit_mib: Annotated[int, typer.Option(min=1, help="The largest steering, in MiB.")] = 64
    upload: Annotated[
        bool | None,
        typer.Option(
            "--upload/--no-upload",
            help="Whether clients may load and unload steerings.",
            show_default="if only this machine reaches the server, or it has an API key",
        ),
    ] = None

    @property
    def folder(self) -> Path | None:
        """The one folder that they are served from."""
        from trimtab.engines import published

        return (
            None if self.steerings is None else served_folder(self.steerings, published.folder() / "served")
        )
