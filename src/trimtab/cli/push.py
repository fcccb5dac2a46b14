"""`trimtab push`: send a saved steering and its card to the Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.options import FileOption
from trimtab.cli.output import Output
from trimtab.errors import SteeringError


def command(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder with a saved steering.")],
    repo: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="The repository; it is made if it is missing.")
    ],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private.")] = False,
    revision: Annotated[
        str | None, typer.Option(metavar="BRANCH", help="The branch to write to; left out: the main one.")
    ] = None,
    message: Annotated[str, typer.Option(help="What the commit says.")] = "Upload a steering with trimtab",
    pull_request: Annotated[
        bool, typer.Option("--pull-request", help="Propose it, and leave the branch as it is.")
    ] = False,
    license_name: Annotated[
        str | None, typer.Option("--license", help="The license that the card names, such as apache-2.0.")
    ] = None,
    file: FileOption = None,
    *,
    output: Output,
) -> None:
    """Send a saved steering to the Hub: its two files and a model card, its README.md if you wrote one.

    The token is the one that `hf auth login` keeps, or that of the environment variable HF_TOKEN.
    """
    from trimtab.steering.folder import CARD
    from trimtab.steering.model_card import card_beside
    from trimtab.steering.steering import Steering

    if repo.count("/") != 1:
        raise SteeringError(f"a repository of the Hub is owner/name, not {repo!r:.100}")
    steering = Steering.load(folder)
    own, license_kept = card_beside(folder / CARD)
    url = steering.push_to_hub(
        repo,
        revision=revision,
        private=private or None,
        commit_message=message,
        create_pr=pull_request,
        license=license_name or license_kept,
        card=own,
    )
    output.print(f"sent to {url}")
    output.result({"url": url, "digest": steering.digest()})
