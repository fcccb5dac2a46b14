"""The steerings that requests of one served model can name: from a folder, the Hub or an upload, validated and counted.

What is in it can be served: it is whole, for this model, always acts, and fits the tables. A name stands for one
content at a time; a digest always for the same.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import torch

from trimtab.errors import SteeringError
from trimtab.serve.rows import fold
from trimtab.steering.collection import SteeringFolder
from trimtab.steering.folder import STEERING
from trimtab.steering.hub import fetch
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering

__all__ = ["Entry", "SteeringLibrary"]

MIB = 1024 * 1024
GIB = 1024 * MIB
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
"""What a steering may be called: neither a path nor a part of an expression such as `json*0.8+lowercase`."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{12,64}")


@dataclass(frozen=True, eq=False)
class Entry:
    """A steering that can be served.

    Attributes:
        name: What it is called.
        digest: Of the steering.
        steering: The steering.
        bytes: The size of its vectors.
        gated: By block, how many gated edits it has there.
        largest_addition: The largest absolute value that it adds at strength 1, whatever the hidden state.
        scoped: Whether an edit of it acts on the prompt only, or on generated tokens only.
    """

    name: str
    digest: str
    steering: Steering
    bytes: int
    gated: Mapping[int, int] = field(default_factory=dict)
    largest_addition: float = 0.0
    scoped: bool = False

    @property
    def gates_used(self) -> int:
        """The most gated edits it has in one block."""
        return max(self.gated.values(), default=0)


class SteeringLibrary:
    """Steerings by name and by digest. All methods may be called from any thread.

    Args:
        identity: The model that is served.
        gates: How many gated edits the tables take in one block.
        limit: The most steerings.
        limit_bytes: The largest steering, its two files together.
        dtype: Of the tables: what is not finite in it is refused.
        limit_total_bytes: The vectors of all steerings together, those whose name is gone and that are not dropped
            yet too; at least one of the largest always has room.
    """

    def __init__(
        self,
        identity: ModelIdentity,
        *,
        gates: int,
        limit: int = 1000,
        limit_bytes: int = 64 * MIB,
        dtype: torch.dtype = torch.float32,
        limit_total_bytes: int = 2 * GIB,
    ) -> None:
        self.identity = identity
        self.gates = gates
        self.limit = limit
        self.limit_bytes = limit_bytes
        self.dtype = dtype
        self.limit_total_bytes = max(limit_total_bytes, limit_bytes)
        self._names: dict[str, Entry] = {}
        self._digests: dict[str, Entry] = {}
        self._lock = threading.Lock()

    # --- asking ------------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """All names, sorted."""
        with self._lock:
            return sorted(self._names)

    def entries(self) -> list[Entry]:
        """What each name stands for, sorted by name."""
        with self._lock:
            return [self._names[name] for name in sorted(self._names)]

    def get(self, name_or_digest: str, *, named: bool = False) -> Entry:
        """The steering of a name, a digest `sha256:...`, or at least 12 characters of one that fit no other.

        `named` leaves out digests that no name stands for any more: they are about to be dropped, and only requests
        that were under way already may still use them.

        Raises:
            SteeringError: There is none, or several digests begin like this.
        """
        with self._lock:
            known = self._names.get(name_or_digest)
            if known is not None:
                return known
            if not _DIGEST.fullmatch(name_or_digest):
                raise SteeringError(self._unknown(name_or_digest))
            of = {entry.digest: entry for entry in self._names.values()} if named else self._digests
            found = [entry for digest, entry in of.items() if digest.startswith(name_or_digest)]
        if not found:
            raise SteeringError(f"there is no steering with the digest {name_or_digest} here; load it first")
        if len(found) > 1:
            raise SteeringError(
                f"the digests of {len(found)} steerings begin with {name_or_digest}; give more of the one you mean"
            )
        return found[0]

    # --- changing ----------------------------------------------------------------------------------------------------

    def add(self, name: str, steering: Steering) -> Entry:
        """Add a steering. If the name stands for another one, that keeps its digest until it is dropped.

        Raises:
            SteeringError: The name cannot be used, the steering cannot be served, or the library is full.
        """
        entry = self._entry(name, steering)
        self._insert([entry])
        return entry

    def remove(self, name: str) -> Entry:
        """Let a name stand for nothing. Its digest stays until it is dropped: requests under way may need it.

        Raises:
            SteeringError: There is no such name.
        """
        with self._lock:
            if name not in self._names:
                raise SteeringError(self._unknown(name))
            return self._names.pop(name)

    def drop(self, digest: str) -> bool:
        """Forget a digest that no name stands for.

        Returns:
            Whether it was forgotten: not if there is none, or if a name stands for it (again).
        """
        with self._lock:
            if digest not in self._digests or any(entry.digest == digest for entry in self._names.values()):
                return False
            del self._digests[digest]
            return True

    def load(self, name: str, folder: str | Path) -> Entry:
        """Add a saved steering.

        Raises:
            SteeringError: As of `add`; or the folder does not hold a steering for this model, whole and not too large.
        """
        _check_name(name)
        return self.add(name, self._read(Path(folder), str(folder)))

    def load_folder(self, folder: str | Path) -> list[Entry]:
        """Add all steerings of a folder: one in each subfolder, whose name becomes its own.

        Raises:
            SteeringError: As of `SteeringFolder.subfolders`; or something in it cannot be served: then nothing is
                added, and the message names all of those.
        """
        inside = SteeringFolder(folder).subfolders()
        entries, reasons = [], []
        for path in inside:
            try:
                _check_name(path.name)
                entries.append(self._entry(path.name, self._read(path, str(path))))
            except SteeringError as error:
                reasons.append(f"[{path.name}] {error}")
        if reasons:
            raise SteeringError(
                f"{len(reasons)} of the {len(inside)} steerings in {folder} cannot be served; mend them or take them "
                f"away: {' '.join(reasons)}"
            )
        self._insert(entries)
        return entries

    def load_hub(self, repo: str, revision: str | None = None, *, name: str | None = None) -> Entry:
        """Add a steering of the Hub, `owner/name`, under the repository's own name if none is given.

        Its two files are fetched and nothing else; `revision` is a branch, a tag or a commit.

        Raises:
            SteeringError: As of `load`; or the Hub does not give it.
        """
        called = repo.rpartition("/")[2] if name is None else name
        _check_name(called)
        return self.add(called, self._read(fetch(repo, revision, self._check_size), f"{repo!r:.200}"))

    def upload(self, name: str, document: bytes, tensors: bytes) -> Entry:
        """Add a steering whose files, `steering.json` and `steering.safetensors`, were sent.

        Raises:
            SteeringError: As of `load`.
        """
        _check_name(name)
        self._check_size(len(document) + len(tensors), "the upload")
        with tempfile.TemporaryDirectory(prefix="trimtab-upload-") as folder:
            STEERING.document_path(Path(folder)).write_bytes(document)
            STEERING.tensors_path(Path(folder)).write_bytes(tensors)
            steering = self._read(Path(folder), "the upload")
        return self.add(name, steering)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _entry(self, name: str, steering: Steering) -> Entry:
        """Make sure that a steering can be served; takes long enough not to be done under the lock."""
        _check_name(name)
        steering.check_model(self.identity)
        if steering.whens:
            raise SteeringError(
                f"the steering '{name}' acts only if {steering.whens[0].describe()}, which a server "
                "does not decide; decide in the client and ask for it only then, and serve steering.always()"
            )
        size = sum(edit.u.nbytes + (0 if edit.p is None else edit.p.nbytes) for edit in steering.edits)
        self._check_size(size, f"the steering '{name}'")
        row = fold(steering.edits)
        row.check(self.gates, self.dtype, name)
        return Entry(
            name=name,
            digest=steering.digest(),
            steering=steering,
            bytes=size,
            gated={block: len(gates.p) for block, gates in row.gates.items()},
            largest_addition=row.largest_addition,
            scoped=any(edit.tokens != "all" for edit in steering.edits),
        )

    def _insert(self, entries: Sequence[Entry]) -> None:
        """Add all or, if there is no room, none."""
        with self._lock:
            names = {**self._names, **{entry.name: entry for entry in entries}}
            digests = {**self._digests, **{entry.digest: entry for entry in entries}}
            count = max(len(names), len(digests))
            if count > self.limit:
                raise SteeringError(
                    f"there is room for {self.limit} steerings, and this would make {count}; remove some first, or "
                    f"start the server with limit={count}"
                )
            total = sum(entry.bytes for entry in digests.values())
            if total > self.limit_total_bytes:
                raise SteeringError(
                    f"there is room for {self.limit_total_bytes / MIB:.1f} MiB of steerings in all, and this would "
                    f"make {total / MIB:.1f} MiB; remove some first, or make them smaller"
                )
            self._names, self._digests = names, digests

    def _read(self, folder: Path, called: str) -> Steering:
        """Load a folder; messages call it what the user does."""
        try:
            paths = [STEERING.document_path(folder), STEERING.tensors_path(folder)]
            self._check_size(sum(path.stat().st_size for path in paths if path.is_file()), called)
            return Steering.load(folder, self.identity)
        except SteeringError as error:
            raise SteeringError(str(error).replace(str(folder), called)) from error

    def _check_size(self, size: int, called: str) -> None:
        if size > self.limit_bytes:
            most = f"{self.limit_bytes / MIB:.1f} MiB"
            raise SteeringError(
                f"{called} has {size / MIB:.1f} MiB, and one steering may have {most}; make it smaller, or "
                "start the server with a higher limit_mib"
            )

    def _unknown(self, name: str) -> str:
        known = sorted(self._names)
        close = get_close_matches(name, known, n=1)
        if close:
            hint = f"did you mean '{close[0]}'?"
        elif known:
            more = f" and {len(known) - 8} more" if len(known) > 8 else ""
            hint = f"there are {', '.join(known[:8])}{more}"
        else:
            hint = "none is loaded"
        return f"there is no steering {name!r:.100} here; {hint}"


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise SteeringError(
            f"{name!r:.60} cannot be the name of a steering; use letters, digits, '_', '-' and '.', at most 128, and "
            "not '-' or '.' first"
        )
