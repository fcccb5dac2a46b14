"""Steerings on the Hub: the files of a steering, fetched or sent by huggingface_hub's own functions.

A token goes to the Hub and nowhere else: what huggingface_hub says of a failure is repeated without it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trimtab import arguments
from trimtab.errors import SteeringError
from trimtab.steering.folder import CARD, STEERING

__all__ = ["fetch", "named", "push", "split"]

_FILES = (f"{STEERING.stem}.json", f"{STEERING.stem}.safetensors")


def named(source: str | Path, *, on_hub: bool = False) -> bool:
    """Whether something that is no folder here can be a repository of the Hub: `owner/name`.

    Where there is a folder `owner`, a folder inside it was meant, unless it is said that it is `on_hub`.
    """
    text = str(source)
    fits = re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text) is not None
    return fits and isinstance(source, str) and (on_hub or not os.path.lexists(text.partition("/")[0]))


def split(place: str | Path) -> tuple[str, str | None]:
    """The repository and the revision of `owner/name` or `owner/name@revision`."""
    arguments.place(place, "source", SteeringError)
    repo, _, revision = (place.as_posix() if isinstance(place, Path) else place).partition("@")
    return repo, revision or None


def fetch(
    repo: str,
    revision: str | None = None,
    check_size: Callable[[int, str], None] | None = None,
    *,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
    card: bool = False,
) -> Path:
    """The folder with the two files of a steering, from the Hub or its cache; options as of `from_pretrained`.

    `check_size` is told how many bytes would be fetched and what from, and raises if those are too many. With `card`
    its card is fetched too, if it has one.
    """
    from huggingface_hub import errors, snapshot_download

    # Quoted: a client chose it, and what it is may not even be text that can be written.
    where = f"{repo!r:.200}" if revision is None else f"{repo!r:.200} at {revision!r:.100}"

    options: dict[str, Any] = {
        "revision": revision,
        "allow_patterns": [*_FILES, CARD] if card else list(_FILES),
        "token": token,
        "cache_dir": cache_dir,
        "local_files_only": local_files_only,
        "tqdm_class": _no_bar(),
    }
    try:
        if check_size is not None:
            try:
                planned = snapshot_download(repo, **options, dry_run=True)
            except errors.DryRunError:  # without the Hub there is only what was fetched before
                planned = []
            check_size(sum(file.file_size or 0 for file in planned), where)
        folder = Path(snapshot_download(repo, **options, force_download=force_download))
    except SteeringError:
        raise
    except Exception as error:  # noqa: BLE001 - its HTTP library's have no common class
        missing = isinstance(error, errors.LocalEntryNotFoundError)
        if missing and (local_files_only or isinstance(error.__cause__, errors.OfflineModeIsEnabled)):
            why = "local_files_only" if local_files_only else "HF_HUB_OFFLINE"
            raise SteeringError(
                f"{where} cannot be fetched from the Hub: {why} is set, and it is not in the cache "
                f"{_cache(cache_dir)}; fetch it once without, with `trimtab pull` say"
            ) from None
        said = error.__cause__ if missing and isinstance(error.__cause__, Exception) else error
        raise _said(said, f"{where} cannot be fetched from the Hub", repo, revision, token) from None
    lacking = [name for name in _FILES if not (folder / name).is_file()]
    if lacking:
        raise SteeringError(f"{where} on the Hub is no steering: it lacks {' and '.join(lacking)}")
    return folder


def _no_bar() -> Any:
    """No bar is drawn for two small files, between the lines of a command that may have to be quiet."""
    from functools import partialmethod

    from huggingface_hub.utils.tqdm import tqdm

    return type("NoBar", (tqdm,), {"__init__": partialmethod(tqdm.__init__, disable=True)})


def _cache(cache_dir: str | Path | None) -> str:
    from huggingface_hub import constants

    return str(constants.HF_HUB_CACHE if cache_dir is None else cache_dir)


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
    if isinstance(error, errors.OfflineModeIsEnabled):
        return SteeringError(f"{what}: HF_HUB_OFFLINE is set; unset it")
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return SteeringError(f"{what}: the Hub refused the token ({status}); log in with `hf auth login`")
    text = " ".join(str(error).split())
    for secret in filter(None, (token if isinstance(token, str) else None, get_token())):
        text = text.replace(secret, "<token>").replace(repr(secret)[1:-1], "<token>")
    return SteeringError(f"{what}: {type(error).__name__}: {text:.500}")
