"""How a steering is kept: in a folder, and on the Hub in the way of peft."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from trimtab import arguments
from trimtab.errors import SteeringError
from trimtab.files import write_text
from trimtab.steering import hub
from trimtab.steering.documents import take
from trimtab.steering.edit_files import edits_document, edits_tensors, read_edits, version_of
from trimtab.steering.folder import CARD, STEERING, read_folder, write_folder
from trimtab.steering.model_card import model_card, write_card
from trimtab.steering.record import ModelIdentity, Record, identity_given
from trimtab.steering.when.files import when_document

if TYPE_CHECKING:
    from trimtab.steering.steering import Steering


class Saved:
    """What `Steering` has to be saved by, and made of again."""

    def save(self, folder: str | Path) -> Path:
        """Write `steering.json` and `steering.safetensors` into a folder, atomically.

        Args:
            folder: Made when it is missing. An older steering in it is replaced, and its card with it.

        Returns:
            The folder.

        Raises:
            SteeringError: The folder holds something else or cannot be written, the record is not plain JSON, or a
                `when` is Python code.
        """
        steering = _whole(self)
        edits, whens = steering.edits, steering.whens
        document = {"name": steering.name, **steering.record.to_dict(), **edits_document(edits, whens)}
        if whens:
            document["conditions"] = [when_document(when) for when in whens]
        tensors = edits_tensors(edits, whens)
        saved = write_folder(folder, STEERING, document, tensors, version=version_of(edits))
        if (saved / CARD).exists():
            write_card(steering, saved)
        return saved

    def save_pretrained(self, folder: str | Path, *, license: str | None = None) -> Path:  # noqa: A002
        """Like `save`, with a model card beside the files: `README.md`, for people and for the Hub.

        A `README.md` that somebody wrote or changed stays as it is.

        Args:
            folder: As of `save`.
            license: The license that the card names; none is made up.

        Raises:
            SteeringError: As of `save`.
        """
        if license is not None:
            arguments.text(license, "license", SteeringError)
        saved = self.save(folder)
        write_card(_whole(self), saved, license_name=license)
        return saved

    def push_to_hub(
        self,
        repo_id: str,
        *,
        revision: str | None = None,
        token: str | None = None,
        private: bool | None = None,
        commit_message: str = "Upload a steering with trimtab",
        create_pr: bool = False,
        license: str | None = None,  # noqa: A002
        card: str | None = None,
    ) -> str:
        """Send its two files and its card to a repository of the Hub, which is made if it is missing.

        Args:
            repo_id: The repository, `owner/name`.
            revision: The branch to write to, made if it is missing; None for the main branch.
            token: A token of the Hub that may write; None for the one that `hf auth login` keeps.
            private: Whether a repository that is made is private; None leaves it to the owner's setting.
            commit_message: What the commit says.
            create_pr: Propose the commit as a pull request, and leave the branch as it is.
            license: The license that the card names.
            card: The text of the card; one is made of the record if left out.

        Returns:
            The address of the commit or of the pull request.

        Raises:
            SteeringError: The Hub does not take it, or as of `save`.
        """
        with tempfile.TemporaryDirectory(prefix="trimtab-push-") as folder:
            self.save(folder)
            write_text(
                Path(folder) / CARD, model_card(_whole(self), repo_id, license) if card is None else card
            )
            return hub.push(
                Path(folder),
                repo_id,
                revision=revision,
                token=token,
                private=private,
                commit_message=commit_message,
                create_pr=create_pr,
            )

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        model: ModelIdentity | None = None,
        allow_other_model: bool = False,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
    ) -> Self:
        """Read a steering from a folder, or from the Hub.

        Args:
            source: A folder, or `owner/name` or `owner/name@revision` of the Hub: its two files are fetched and kept.
            model: The model it is meant for, as of `load`.
            allow_other_model: As of `load`.
            revision: A branch, a tag or a commit of the repository, if `source` names none.
            token: A token of the Hub; None for the one that `hf auth login` keeps, False for none.
            cache_dir: Where to keep what is fetched; None for the Hub's own cache.
            local_files_only: Take what was fetched before, and don't ask the Hub.
            force_download: Fetch it again.

        Raises:
            SteeringError: There is no such folder or repository, or as of `load`.
        """
        if revision is not None:
            arguments.text(revision, "revision", SteeringError)
        if not isinstance(token, str | bool | None):
            raise SteeringError(f"token must be a text, a flag or None, not {arguments.in_words(token)}")
        if cache_dir is not None:
            arguments.place(cache_dir, "cache_dir", SteeringError)
        arguments.flag(local_files_only, "local_files_only", SteeringError)
        arguments.flag(force_download, "force_download", SteeringError)
        repo, named_revision = hub.split(source)
        if isinstance(source, Path) or os.path.lexists(source) or not hub.named(repo):
            return cls.load(source, model, allow_other_model=allow_other_model)
        if named_revision is not None and revision not in (None, named_revision):
            raise SteeringError(
                f"{source!r:.200} names a revision, and so does revision={revision!r:.100}; give one"
            )
        folder = hub.fetch(
            repo,
            named_revision or revision,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            force_download=force_download,
        )
        try:
            return cls.load(folder, model, allow_other_model=allow_other_model)
        except SteeringError as error:
            raise SteeringError(str(error).replace(str(folder), str(source))) from error

    @classmethod
    def load(
        cls, folder: str | Path, model: ModelIdentity | None = None, *, allow_other_model: bool = False
    ) -> Self:
        """Read a saved steering.

        Args:
            folder: Where it was saved.
            model: The model it is meant for: checked with `check_model` when given.
            allow_other_model: Take a steering of another model of the same shape; it is then `moved_to` this one.

        Raises:
            SteeringError: The folder is missing, not a steering, damaged, of a newer format, or for another model.
        """
        arguments.flag(allow_other_model, "allow_other_model", SteeringError)
        if model is not None:
            identity_given(model, "model")
        document, tensors, mismatch = read_folder(folder, STEERING)
        where = STEERING.document_path(Path(folder))
        record = Record.from_dict(document, where)
        edits = read_edits(document, tensors, record.model, where)
        made = cast("type[Steering]", cls)
        steering = made(take(document, "name", str, where), edits, record)
        unknown = set(tensors) - set(edits_tensors(edits, steering.whens))
        if unknown:
            raise SteeringError(f"{folder} has tensors that belong to no edit: {', '.join(sorted(unknown))}")
        if mismatch is not None:
            raise SteeringError(mismatch)
        if model is not None:
            steering.check_model(model, allow_other_model=allow_other_model)
            if record.model.refusal(model) is not None:
                steering = steering.moved_to(model)
        return cast("Self", steering)


def _whole(saved: Saved) -> Steering:
    return cast("Steering", saved)
