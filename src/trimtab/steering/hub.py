"""A steering from the Hub: its two files and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trimtab.errors import SteeringError
from trimtab.steering.folder import STEERING

__all__ = ["fetch"]


def fetch(repo: str, revision: str | None, check_size: Callable[[int, str], None]) -> Path:
    """The folder with the files of a repository, from the Hub or its cache.

    Args:
        repo: The repository, `owner/name`.
        revision: A branch, a tag or a commit; None for the main branch.
        check_size: Is told how many bytes would be fetched and what from, and raises if those are too many.

    Raises:
        SteeringError: The Hub does not give it.
    """
    from huggingface_hub import errors, snapshot_download

    files = [f"{STEERING.stem}.json", f"{STEERING.stem}.safetensors"]
    # Quoted: a client chose it, and what it is may not even be text that can be written.
    called = f"{repo!r:.200}"
    where = called if revision is None else f"{called} at {revision!r:.100}"
    try:
        try:
            planned = snapshot_download(repo, revision=revision, allow_patterns=files, dry_run=True)
        except errors.DryRunError:  # without the Hub there is only what was fetched before
            planned = []
        check_size(sum(file.file_size or 0 for file in planned), where)
        return Path(snapshot_download(repo, revision=revision, allow_patterns=files))
    except errors.RevisionNotFoundError as error:
        raise SteeringError(
            f"{called} has no revision {revision!r:.100} on the Hub; look at its page"
        ) from error
    except errors.GatedRepoError as error:
        raise SteeringError(
            f"{called} is gated: accept its terms on its page on the Hub and log in with `hf auth login`"
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise SteeringError(f"there is no {called} on the Hub (or it is private); give owner/name") from error
    except SteeringError:
        raise
    except Exception as error:  # those of its HTTP library have no common class of Python's
        raise SteeringError(
            f"{where} cannot be fetched from the Hub: {type(error).__name__}: {error}"
        ) from error
