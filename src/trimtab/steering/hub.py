"""Steerings on the Hub: the files of a steering, fetched or sent by huggingface_hub's own functions.

A token goes to the Hub and nowhere else: what huggingface_hub says of a failure is repeated without it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trimtab.errors import SteeringError
from trimtab.steering.folder import CARD, STEERING

__all__ = ["fetch", "named", "push"]

_FILES = (f"{STEERING.stem}.json", f"{STEERING.stem}.safetensors")


def named(source: str | Path) -> bool:
    """Whether something that is no folder here can be a repository of the Hub: `owner/name`.

    Where there is a folder `owner`, a folder inside it was meant.
    """
    text = str(source)
    fits = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text) is not None
    return fits and isinstance(source, str) and not os.path.lexists(text.partition("/")[0])


def fetch(
    repo: str,
    revision: str | None = None,
    check_size: Callable[[int, str], None] | None = None,
    *,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> Path:
    """The folder with the two files of a steering, from the Hub or its cache; options as of `from_pretrained`.

    `check_size` is told how many bytes would be fetched and what from, and raises if those are too many.
    """
    from huggingface_hub import errors, snapshot_download

    # Quoted: a client chose it, and what it is may not even be text that can be written.
    where = f"{repo!r:.200}" if revision is None else f"{repo!r:.200} at {revision!r:.100}"

    options: dict[str, Any] = {
        "revision": revision,
        "allow_patterns": list(_FILES),
        "token": token,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only,
    }
    try:
        if check_size is not None:
            try:
                planned = snapshot_download(repo, **options, dry_run=True)
            except errors.DryRunError:  # without the Hub there is only what was fetched before
                planned = []
            check_size(sum(file.file_size or 0 for file in planned), where)
        return Path(snapshot_download(repo, **options, force_download=force_download))
    except SteeringError:
        raise
    except Exception as error:  # noqa: BLE001 - its HTTP library's have no common class
        cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else None
        said = cause if isinstance(cause, errors.HfHubHTTPError) else error
        raise _said(said, f"{where} cannot be fetched from the Hub", repo, revision, token) from None


def push(
    folder: Path,
    repo: str,
    *,
    revision: str | None = None,
    token: str | None = None,
    private: bool | None = None,
    commit_message: str = "Upload a steering with trimtab",
    create_pr: bool = False,
) -> str:
    """Send a steering's files and its card; see `Steering.push_to_hub`."""
    from huggingface_hub import CommitOperationAdd, HfApi

    try:
        api = HfApi(token=token)
        made = api.create_repo(repo, private=private, exist_ok=True)
        if revision is not None and not create_pr:
            api.create_branch(made.repo_id, branch=revision, exist_ok=True)
        info = api.create_commit(
            made.repo_id,
            [CommitOperationAdd(name, folder / name) for name in (*_FILES, CARD)],
            commit_message=commit_message,
            revision=revision,
            create_pr=create_pr,
        )
    except Exception as error:  # noqa: BLE001 - as above
        raise _said(error, f"{repo!r:.200} cannot be written to on the Hub", repo, revision, token) from None
    return str(info.pr_url or info.commit_url)


def _said(
    error: Exception, what: str, repo: str, revision: str | None, token: str | bool | None
) -> SteeringError:
    """One line for what huggingface_hub raised, without the token that may be in its text."""
    from huggingface_hub import errors, get_token

    called = f"{repo!r:.200}"
    if isinstance(error, errors.RevisionNotFoundError):
        return SteeringError(f"{called} has no revision {revision!r:.100} on the Hub; look at its page")
    if isinstance(error, errors.GatedRepoError):
        return SteeringError(
            f"{called} is gated: accept its terms on its page on the Hub and log in with `hf auth login`"
        )
    if isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError):
        return SteeringError(f"there is no {called} on the Hub (or it is private); give owner/name")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return SteeringError(f"{what}: the Hub refused the token ({status}); log in with `hf auth login`")
    text = " ".join(str(error).split())
    for secret in filter(None, (token if isinstance(token, str) else None, get_token())):
        text = text.replace(secret, "<token>").replace(repr(secret)[1:-1], "<token>")
    return SteeringError(f"{what}: {type(error).__name__}: {text:.500}")
