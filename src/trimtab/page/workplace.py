"""What a page works on: one model, the steerings that can be chosen, and where those that are taught are kept."""

from __future__ import annotations

import asyncio
import copy
import io
import tempfile
import zipfile
import zlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab import instructions, nano
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import InstructionError, SteeringError
from trimtab.page.working import Job
from trimtab.serve.library import SteeringLibrary
from trimtab.steering.folder import CARD, STEERING
from trimtab.steering.steering import Steering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trimtab.instructions import Instruction
    from trimtab.server.embedded import Embedded

GATES = 64
"""Gated edits that steerings may have in one block: nothing is tabled here, so there is room for many."""
NANO_TOKENS, TOKENS = 128, 192
"""The longest answer, in tokens, of the built-in model and of any other."""
_INSTRUCTIONS = ".instructions"


class Workplace:
    """One model with its steerings; shared by all who have the page open.

    Args:
        engine: The model.
        embedded: The server that the page stands in: its steerings are the page's, and its running batch answers. None
            for a page on its own.
        folder: Where taught steerings are kept, each in a subfolder; None for a folder that goes with the server.

    Attributes:
        place: The folder that taught steerings are kept in.
        kept: Whether they outlast the server.
        job: What is taught in the background.
    """

    def __init__(
        self, engine: TransformersEngine, embedded: Embedded | None = None, folder: Path | None = None
    ) -> None:
        self.engine = engine
        self.embedded = embedded
        if embedded is None:
            self.library = SteeringLibrary(engine.identity, gates=GATES)
        else:
            self.library = embedded.serving.library
        self.kept = folder is not None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if folder is None:
            self._temporary = tempfile.TemporaryDirectory(prefix="trimtab-play-")
            folder = Path(self._temporary.name)
        self.place = folder
        self.job = Job()
        # Never run, so that no copy of it is made while something is hooked in.
        self._spare = copy.deepcopy(engine.model, self._weights(engine.model))
        for file in sorted(self.instructions_folder.glob("*.toml")):
            instructions.load_file(file, replace=True)

    def close(self) -> None:
        """Ends the work, and lets go what goes with the server."""
        self.job.cancel()
        self.job.wait(30)
        if self._temporary is not None:
            self._temporary.cleanup()

    def stock(self) -> list[str]:
        """Adds the steerings that ship with the model and are not there yet; gives all names."""
        if nano.is_built_in(self.engine.identity.id):
            for name, place in nano.steerings().items():
                if name not in self.library.names():
                    self.library.load(name, place)
        return self.library.names()

    @property
    def model(self) -> str:
        """What the model is called in the records of steerings."""
        return self.engine.identity.id

    @property
    def name(self) -> str:
        """What clients of the server call the model."""
        return self.model if self.embedded is None else self.embedded.backend.name

    @property
    def max_new_tokens(self) -> int:
        """The longest answer, in tokens."""
        return NANO_TOKENS if nano.is_built_in(self.model) else TOKENS

    @property
    def instructions_folder(self) -> Path:
        """Where instructions of one's own are kept, each in a TOML file."""
        return self.place / _INSTRUCTIONS

    @cached_property
    def twin(self) -> TransformersEngine:
        """The model that is taught on in the background."""
        return self.another()

    def another(self) -> TransformersEngine:
        """The same model once more, with the same weights in memory: what hooks one of them steers no other."""
        identity = self.engine.identity
        return TransformersEngine(
            copy.deepcopy(self._spare, self._weights(self._spare)),
            self.engine.tokenizer,
            model_id=identity.id,
            revision=identity.revision,
        )

    @staticmethod
    def _weights(model: Any) -> dict[int, Any]:
        """What copies of a model share: what `deepcopy` shall take for copied already."""
        return {id(one): one for one in (*model.parameters(), *model.buffers())}

    def steerings(self) -> dict[str, Steering]:
        """All steerings by name, in order of their names."""
        return {entry.name: entry.steering for entry in self.library.entries()}

    def steering(self, name: str | None) -> Steering:
        """The steering of that name.

        Raises:
            SteeringError: There is none.
        """
        if not isinstance(name, str):  # nothing is chosen
            raise SteeringError("no steering is chosen; take one of the list")
        return self.library.get(name).steering

    def keep(self, name: str, steering: Steering) -> None:
        """Saves a steering under a name, and puts it into the list.

        Raises:
            SteeringError: The name cannot be used, or the folder not be written.
        """
        self._add(name, steering)
        steering.save_pretrained(self.place / name)

    def check_permission(self) -> None:
        """Refuses to change the list where the server's clients may not.

        Raises:
            SteeringError: They may not.
        """
        if self.embedded is not None and not self.embedded.serving.may_change:
            raise SteeringError(
                "this server was started so that nobody loads or teaches steerings; start it with --upload, best with "
                "an --api-key"
            )

    def _add(self, name: str, steering: Steering) -> None:
        """Into the list; in a server that runs, through what counts and tells of its steerings."""
        loop = None if self.embedded is None else self.embedded.runner.loop
        if self.embedded is None or loop is None:
            self.library.add(name, steering)
            return
        serving = self.embedded.serving
        entry = serving.apart().add(name, steering)
        asyncio.run_coroutine_threadsafe(serving.load(entry, replace=True), loop).result()

    def load(self, place: str) -> list[str]:
        """Adds the steerings of a folder (itself one, or with some in it), or of the Hub; gives their names.

        Raises:
            SteeringError: There is none, or it is for another model.
        """
        from trimtab.steering.collection import SteeringFolder

        self.check_permission()
        found = SteeringFolder.found(place.strip()).load(self.engine.identity)
        for name, steering in found.items():
            self._add(name, steering)
        return list(found)

    def load_zip(self, path: str | Path) -> list[str]:
        """Adds the steerings of a zip file as `zipped` makes them; gives their names.

        Raises:
            SteeringError: It is no such file, or its steerings are not for this model.
        """
        self.check_permission()
        try:
            with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory() as folder:
                _unpack(archive, Path(folder))
                inside = [one.parent for one in Path(folder).rglob(f"{STEERING.stem}.json")]
                if not inside:
                    raise SteeringError(
                        "there is no steering in this file; upload one that this page, or `zip -r`, made of a "
                        "steering's folder"
                    )
                names = []
                for place in inside:
                    name = place.name if place != Path(folder) else Path(path).stem
                    self._add(name, Steering.load(place, self.engine.identity))
                    names.append(name)
                return names
        # Besides its own error, zipfile raises these for files that are damaged, encrypted, or packed in other ways.
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise SteeringError(
                "this is not a zip file, or a damaged one; upload the zip of a steering's folder"
            ) from error

    def zipped(self, names: list[str]) -> bytes:
        """A zip file with steerings, each in a folder of its name, and the instructions of one's own they need.

        Raises:
            SteeringError: There is no name, or no steering of a name.
        """
        if not names:
            raise SteeringError("name a steering to download: ?name=json")
        content = io.BytesIO()
        with (
            zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive,
            tempfile.TemporaryDirectory() as place,
        ):
            for name in names:
                steering = self.steering(name)
                folder = steering.save_pretrained(Path(place) / name)
                for file in (STEERING.document_path(folder), STEERING.tensors_path(folder), folder / CARD):
                    archive.writestr(f"{name}/{file.name}", file.read_bytes())
                for one in known_instructions(steering):
                    source = one.type.source
                    if source is not None:
                        archive.writestr(f"{name}/{Path(source).name}", Path(source).read_bytes())
        return content.getvalue()


def known_instructions(steering: Steering) -> list[Instruction]:
    """The instructions that a steering's record names, without those that are not known here."""
    return list(_known(steering))


def _known(steering: Steering) -> Iterator[Instruction]:
    for item in steering.record.instructions:
        try:
            yield instructions.from_dict(item)
        except InstructionError:  # of a plug-in that is not installed here
            continue


def _unpack(archive: zipfile.ZipFile, folder: Path, most: int = 64 * 1024 * 1024) -> None:
    """The two files of each steering, wherever they stand; nothing else is written, and nothing outside."""
    wanted = (f"{STEERING.stem}.json", f"{STEERING.stem}.safetensors")
    for entry in archive.infolist():
        parts = Path(entry.filename.replace("\\", "/")).parts
        if not parts or parts[-1] not in wanted or ".." in parts or Path(entry.filename).is_absolute():
            continue
        if entry.file_size > most:
            raise SteeringError(f"{entry.filename} has {entry.file_size} bytes, and one file may have {most}")
        place = folder.joinpath(*parts[-2:])
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(archive.read(entry))
