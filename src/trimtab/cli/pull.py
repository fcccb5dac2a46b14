"""`trimtab pull`: fetch a steering from the Hub into a folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.options import steering_folder
from trimtab.cli.output import Output
from trimtab.errors import SteeringError


def command(
    place: Annotated[
        str,
        typer.Argument(
            metavar="OWNER/NAME[@REVISION]", help="The repository; a branch, a tag or a commit of it."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", "-o", metavar="DIR", callback=steering_folder, help="Where to save the steering."
        ),
    ],
    *,
    output: Output,
) -> None:
    """Fetch a steering from the Hub: its two files, checked, and its card.

    A private repository takes the token that `hf auth login` keeps, or that of the environment variable HF_TOKEN. With
    HF_HUB_OFFLINE=1 what was fetched before is taken.
    """
    from trimtab.files import read_text, write_text
    from trimtab.steering import hub
    from trimtab.steering.folder import CARD
    from trimtab.steering.model_card import card_beside
    from trimtab.steering.steering import Steering

    repo, revision = hub.split(place)
    if not hub.named(repo, on_hub=True):
        raise SteeringError(
            f"a repository of the Hub is owner/name or owner/name@revision, not {place!r:.100}"
        )
    folder = hub.fetch(repo, revision)
    try:
        steering = Steering.load(folder)
    except SteeringError as error:
        raise SteeringError(str(error).replace(str(folder), place)) from error
    steering.save(out)
    with contextlib.suppress(SteeringError):  # offline, where the card was never fetched
        hub.fetch(repo, folder.name, card=True)
    if (folder / CARD).is_file() and card_beside(out / CARD)[0] is None:
        write_text(out / CARD, read_text(folder / CARD))
    output.print(f"{steering.name}, for {steering.record.model}: saved in {out}")
    output.result({"path": str(out), "commit": folder.name, "digest": steering.digest()})
