"""A steering: edits for one model, and the record of where they come from and what they measured.

It is the artefact a user keeps and shares. Steerings of one model compose with `+` (the union of their edits: edits of
the same block act simultaneously, so the order never matters) and scale with `*` (an edit's change is linear in its u).
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch

from trimtab import steering_card
from trimtab._version import __version__
from trimtab.edits import Edit, TokenScope
from trimtab.errors import SteeringError
from trimtab.steering_files import (
    STEERING,
    canonical_digest,
    finite_number,
    finite_vector,
    read_folder,
    take,
    write_folder,
)


@dataclass(frozen=True)
class ModelIdentity:
    """Which model something was learned on, and in which chat template.

    Attributes:
        id: The Hub name, the built-in name or the folder it was loaded from.
        revision: The commit of the Hub repository, if known.
        architecture: The class name, `LlamaForCausalLM`.
        blocks: Number of decoder blocks.
        width: Size of the residual stream, d.
        chat_template: `"sha256:..."` of the template's text, or `"plain"` for a model without one.
    """

    id: str
    revision: str | None
    architecture: str
    blocks: int
    width: int
    chat_template: str

    def to_dict(self) -> dict[str, Any]:
        """The identity as plain JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str | Path = "the model identity") -> ModelIdentity:
        """Read what `to_dict` gave.

        Raises:
            SteeringError: A value is missing or of the wrong type.
        """
        identity = cls(
            id=take(values, "id", str, where),
            revision=take(values, "revision", (str, type(None)), where),
            architecture=take(values, "architecture", str, where),
            blocks=take(values, "blocks", int, where),
            width=take(values, "width", int, where),
            chat_template=take(values, "chat_template", str, where),
        )
        if identity.blocks < 1 or identity.width < 1:
            raise SteeringError(f"{where}: a model has at least one block and a width of at least 1")
        return identity

    def __str__(self) -> str:
        """The model and its shape in a few words."""
        name = self.id if self.revision is None else f"{self.id}@{self.revision[:12]}"
        return f"{name} ({self.architecture}, {self.blocks} blocks of width {self.width})"

    def refusal(self, other: ModelIdentity, *, allow_other_model: bool = False) -> str | None:
        """Why what was made for this model must not be applied to another: None when it may.

        Args:
            other: The model it is about to be applied to.
            allow_other_model: Take any model of the same number of blocks and the same width.
        """
        if (self.blocks, self.width) != (other.blocks, other.width):
            return "the shapes differ"
        if allow_other_model:
            return None
        if self.architecture != other.architecture:
            return "the architectures differ"
        if self.id != other.id:
            return "the names differ"
        if self.revision is not None and other.revision is not None and self.revision != other.revision:
            return "the revisions differ"
        if self.chat_template != other.chat_template:
            return f"the chat templates differ: {short(self.chat_template)} and {short(other.chat_template)}"
        return None


@dataclass(frozen=True)
class Record:
    """Where a steering comes from and what it measured.

    Attributes:
        model: The model it was made for.
        instructions: `{"name": ..., "params": {...}}` of each instruction it stands for; none for a hand-made one.
        method: How it was learned: `mean_difference`, `pca`, `composed`, `manual`.
        prompts: Digest of the prompt pairs it was learned from, if any.
        settings: How it was made, plain JSON: block, strength, how it is applied...
        measurements: What it measured as it is, plain JSON. Scaling and composing drop them: they no longer hold.
        version: The trimtab that made it.
        created: When, ISO 8601, if known. Not part of the digest.
    """

    model: ModelIdentity
    instructions: tuple[dict[str, Any], ...] = ()
    method: str = "manual"
    prompts: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    measurements: dict[str, Any] = field(default_factory=dict)
    version: str = __version__
    created: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The record as plain JSON."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {
            **values,
            "model": self.model.to_dict(),
            "instructions": [dict(item) for item in self.instructions],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str | Path = "the record") -> Record:
        """Read what `to_dict` gave.

        Raises:
            SteeringError: A value is missing or of the wrong type.
        """
        instructions = take(values, "instructions", list, where)
        for item in instructions:
            if (
                not isinstance(item, dict)
                or not isinstance(item.get("name"), str)
                or not isinstance(item.get("params"), dict)
            ):
                raise SteeringError(
                    f"{where}: every instruction needs a 'name' and 'params', not {item!r:.60}"
                )
        return cls(
            model=ModelIdentity.from_dict(take(values, "model", dict, where), f"{where} (model)"),
            instructions=tuple(instructions),
            method=take(values, "method", str, where),
            prompts=take(values, "prompts", (str, type(None)), where),
            settings=take(values, "settings", dict, where),
            measurements=take(values, "measurements", dict, where),
            version=take(values, "version", str, where),
            created=take(values, "created", (str, type(None)), where),
        )


@dataclass(frozen=True, eq=False)
class Steering:
    """A named set of edits for one model.

    Attributes:
        name: What to call it; no meaning attached.
        edits: The edits; their order does not matter.
        record: Where they come from.

    Raises:
        SteeringError: An edit does not fit the record's model, or has values that are not finite.
    """

    name: str
    edits: tuple[Edit, ...]
    record: Record

    def __post_init__(self) -> None:
        object.__setattr__(self, "edits", tuple(self.edits))
        for edit in self.edits:
            _check_edit(edit, self.record.model, f"the steering '{self.name}'")

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that are edited, ascending, each once."""
        return tuple(sorted({edit.block for edit in self.edits}))

    def check_model(self, identity: ModelIdentity, *, allow_other_model: bool = False) -> None:
        """Make sure that this steering may be applied to a model.

        Args:
            identity: The model it is about to be applied to.
            allow_other_model: Take any model with the same number of blocks and the same width, a fine-tune of the
                original or its base, say. The name, architecture and chat template are then not compared.

        Raises:
            SteeringError: It may not; the message names both models.
        """
        own = self.record.model
        reason = own.refusal(identity, allow_other_model=allow_other_model)
        if reason is None:
            return
        way_out = "learn it on this model"
        if own.refusal(identity, allow_other_model=True) is None:
            way_out += " or say allow_other_model=True"
        raise SteeringError(
            f"the steering '{self.name}' is for {own}, not for {identity}: {reason}; {way_out}"
        )

    def __add__(self, other: Steering) -> Steering:
        """Both steerings at once: the union of their edits.

        Raises:
            SteeringError: They are for different models.
        """
        if not isinstance(other, Steering):
            return NotImplemented
        mine, theirs = self.record, other.record
        reason = mine.model.refusal(theirs.model)
        if reason is not None:
            raise SteeringError(
                f"'{self.name}' is for {mine.model}, '{other.name}' for {theirs.model}: {reason}; "
                "only steerings of one model compose"
            )
        model = mine.model if mine.model.revision is not None else theirs.model
        record = Record(
            model=model,
            instructions=mine.instructions + theirs.instructions,
            method=mine.method if mine.method == theirs.method else "composed",
            prompts=mine.prompts if mine.prompts == theirs.prompts else None,
            settings={"parts": _parts(self) + _parts(other)},
            created=max((stamp for stamp in (mine.created, theirs.created) if stamp), default=None),
        )
        return Steering(name=f"{self.name}+{other.name}", edits=self.edits + other.edits, record=record)

    def __mul__(self, strength: float) -> Steering:
        """The same steering, `strength` times as strong; negative turns it round, 0 leaves no edit at all.

        Raises:
            SteeringError: The strength is not finite.
        """
        if isinstance(strength, bool) or not isinstance(strength, int | float):
            return NotImplemented
        if not math.isfinite(strength):
            raise SteeringError(f"a strength must be a finite number, not {strength}")
        if strength == 1:
            return self
        scale = finite_number(self.record.settings.get("scale", 1.0), "scale", self.name) * float(strength)
        edits = tuple(edit.scaled(float(strength)) for edit in self.edits) if strength else ()
        record = dataclasses.replace(
            self.record, settings={**self.record.settings, "scale": scale}, measurements={}
        )
        return Steering(name=self.name, edits=edits, record=record)

    __rmul__ = __mul__

    def __neg__(self) -> Steering:
        """The opposite steering: strength -1."""
        return self * -1.0

    def digest(self) -> str:
        """`"sha256:..."` of what this steering does and how it was made: edits, model, instructions, settings.

        Its name, its creation time and its measurements are not part of it: learning the same thing again gives the
        same digest.
        """
        content = hashlib.sha256()
        document = self._document()
        for key in ("name", "measurements", "created", "version"):
            del document[key]
        content.update(canonical_digest(document).encode())
        for edit in self.edits:
            for tensor in (edit.u, edit.p):
                if tensor is not None:
                    content.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        return "sha256:" + content.hexdigest()

    def describe(self) -> str:
        """A short card to read: what it does, for which model, how it was made, what it measured."""
        return steering_card.describe(self)

    def save(self, folder: str | Path) -> Path:
        """Write `steering.json` and `steering.safetensors` into a folder, atomically.

        Args:
            folder: Made when it is missing. An older steering in it is replaced.

        Returns:
            The folder.

        Raises:
            SteeringError: The folder holds something else or cannot be written, or the record is not plain JSON.
        """
        tensors = {}
        for number, edit in enumerate(self.edits):
            tensors[f"edits.{number}.u"] = edit.u
            if edit.p is not None:
                tensors[f"edits.{number}.p"] = edit.p
        return write_folder(folder, STEERING, self._document(), tensors)

    @classmethod
    def load(
        cls, folder: str | Path, model: ModelIdentity | None = None, *, allow_other_model: bool = False
    ) -> Steering:
        """Read a saved steering.

        Args:
            folder: Where it was saved.
            model: The model it is meant for: checked with `check_model` when given.
            allow_other_model: As for `check_model`.

        Raises:
            SteeringError: The folder is missing, not a steering, damaged, of a newer format, or for another model.
        """
        document, tensors, mismatch = read_folder(folder, STEERING)
        where = STEERING.document_path(Path(folder))
        record = Record.from_dict(document, where)
        edits = []
        for number, values in enumerate(take(document, "edits", list, where)):
            edits.append(_read_edit(values, number, tensors, record.model, where))
        steering = cls(name=take(document, "name", str, where), edits=tuple(edits), record=record)
        unknown = set(tensors) - {f"edits.{number}.{part}" for number in range(len(edits)) for part in "up"}
        if unknown:
            raise SteeringError(f"{folder} has tensors that belong to no edit: {', '.join(sorted(unknown))}")
        if mismatch is not None:
            raise SteeringError(mismatch)
        if model is not None:
            steering.check_model(model, allow_other_model=allow_other_model)
        return steering

    def _document(self) -> dict[str, Any]:
        edits = [
            {
                "block": edit.block,
                "alpha": float(edit.alpha),
                "tokens": edit.tokens,
                "gated": edit.p is not None,
            }
            for edit in self.edits
        ]
        return {"name": self.name, **self.record.to_dict(), "edits": edits}


def short(digest: str) -> str:
    """A digest to read: the first 12 characters of a `"sha256:..."`, anything else as it is."""
    return digest.removeprefix("sha256:")[:12] if digest.startswith("sha256:") else digest


def _parts(steering: Steering) -> list[dict[str, Any]]:
    """How the parts of a composition were made; a composition that was not scaled since gives its own parts."""
    record = steering.record
    if set(record.settings) == {"parts"}:
        return list(record.settings["parts"])
    return [
        {
            "name": steering.name,
            "method": record.method,
            "prompts": record.prompts,
            "settings": record.settings,
        }
    ]


def _read_edit(
    values: Any, number: int, tensors: dict[str, torch.Tensor], model: ModelIdentity, where: Path
) -> Edit:
    place = f"{where} (edit {number})"
    if not isinstance(values, dict):
        raise SteeringError(f"{place} must be an object, not {values!r:.60}")
    block = take(values, "block", int, place)
    tokens = take(values, "tokens", str, place)
    if not 0 <= block < model.blocks:
        raise SteeringError(
            f"{place}: block {block} is out of range, the model has blocks 0 to {model.blocks - 1}"
        )
    if tokens not in get_args(TokenScope):
        raise SteeringError(
            f"{place}: tokens must be one of {', '.join(get_args(TokenScope))}, not {tokens!r:.60}"
        )
    gated = take(values, "gated", bool, place)
    return Edit(
        block=block,
        u=finite_vector(tensors, f"edits.{number}.u", (model.width,), where),
        alpha=finite_number(values.get("alpha"), "alpha", place),
        p=finite_vector(tensors, f"edits.{number}.p", (model.width,), where) if gated else None,
        tokens=tokens,  # type: ignore[arg-type]  # checked above
    )


def _check_edit(edit: Edit, model: ModelIdentity, where: str) -> None:
    """Make sure that an edit, sound in itself, fits the model."""
    if edit.block >= model.blocks:
        raise SteeringError(
            f"{where} edits block {edit.block}, but {model} has blocks 0 to {model.blocks - 1}; count blocks from 0"
        )
    if edit.width != model.width:
        raise SteeringError(
            f"{where} edits block {edit.block} at width {edit.width}, but {model} has width {model.width}"
        )
