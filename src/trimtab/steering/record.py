"""Where a steering comes from: the model it was made for, and how it was made.

Both are plain JSON when saved, so that a steering can be understood without this library.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trimtab import arguments
from trimtab._version import __version__
from trimtab.errors import SteeringError
from trimtab.steering.documents import finite_number, take


def short(digest: str) -> str:
    """A digest to read: `"sha256:"` and 12 characters of it, or `"plain"` as it is."""
    return digest[: len("sha256:") + 12] if digest.startswith("sha256:") else digest


@dataclass(frozen=True)
class ModelIdentity:
    """Which model something was learned on, and in which chat template.

    Attributes:
        id: The Hub name, the built-in name or the folder it was loaded from.
        revision: The commit of the Hub repository, if known.
        architecture: The model type of transformers, `llama`.
        blocks: Number of decoder blocks.
        width: Size of the residual stream, d.
        chat_template: `"sha256:..."` of the template's text, or `"plain"` for a model without one.
        weights: `weights_digest` of its blocks, or None where that is not known: of steerings saved before it was kept,
            and of engines whose weights are laid out otherwise. It decides whether a model is the same; only without it
            the names do. Not part of what makes two identities equal.
    """

    id: str
    revision: str | None
    architecture: str
    blocks: int
    width: int
    chat_template: str
    weights: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, model: Any, tokenizer: Any = None) -> ModelIdentity:
        """Which model it is that you hold.

        Args:
            model: A causal language model of transformers.
            tokenizer: Its tokenizer; without one the chat template counts as plain.

        Raises:
            ModelError: It is none.
        """
        from trimtab.steering.held import held_identity

        return held_identity(model, tokenizer)

    def to_dict(self) -> dict[str, Any]:
        """The identity as plain JSON."""
        values = dataclasses.asdict(self)
        if self.weights is None:
            del values["weights"]  # as files were before, digests with them
        return values

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
            weights=take({"weights": None, **values}, "weights", (str, type(None)), where),
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
        other = identity_given(other, "the identity of the model")
        if (self.blocks, self.width) != (other.blocks, other.width):
            return "the shapes differ"
        if allow_other_model:
            return None
        if self.architecture != other.architecture:
            return "the architectures differ"
        mine, theirs = (self.weights or "").partition(":"), (other.weights or "").partition(":")
        if mine[2] and mine[0] == theirs[0]:
            if mine != theirs:
                return "the weights differ"
        elif self.id != other.id:
            return "the names differ"
        elif self.revision is not None and other.revision is not None and self.revision != other.revision:
            return "the revisions differ"
        if self.chat_template != other.chat_template:
            return f"the chat templates differ: {short(self.chat_template)} and {short(other.chat_template)}"
        return None


def identity_given(identity: Any, name: str = "identity") -> ModelIdentity:
    """The identity of a model that somebody gave; `name` is the argument it is.

    Raises:
        SteeringError: It is none.
    """
    of = "a trimtab.ModelIdentity, such as engine.identity"
    found: ModelIdentity = arguments.instance(identity, name, ModelIdentity, of, SteeringError)
    return found


@dataclass(frozen=True)
class Record:
    """Where a steering comes from and what it measured.

    Attributes:
        model: The model it was made for.
        instructions: `{"name": ..., "params": {...}}` of each instruction it stands for; none for a hand-made one.
        method: How it was learned: `distilled`, `mean_difference`, `contrast`, `pca`, `composed`, `manual`.
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
    measurements: dict[str, Any] = field(default_factory=dict, repr=False)
    version: str = __version__
    created: str | None = None

    @property
    def out_of_bounds(self) -> dict[str, list[str]]:
        """Which measures of quality were out of bounds, in words, by where that was measured: `validation`, `test`.

        Empty where all that was compared with plain answers is within bounds, and where nothing was.
        """
        found: dict[str, list[str]] = {}
        for name, measured in self.measurements.items():
            steered = measured.get("steered", measured) if isinstance(measured, Mapping) else None
            words = steered.get("out_of_bounds") if isinstance(steered, Mapping) else None
            if isinstance(words, list) and words:
                found[name] = [str(one) for one in words]
        return found

    @property
    def judges(self) -> tuple[str, ...]:
        """By whom answers were judged, where no program checked them; empty where all figures are those of checks."""
        found: list[str] = []
        for measured in self.measurements.values():
            if isinstance(measured, Mapping):
                named = measured.get("judges")
                found += named.values() if isinstance(named, Mapping) else []
                found += [
                    one["judge"] for one in measured.values() if isinstance(one, Mapping) and "judge" in one
                ]
        return tuple(dict.fromkeys(map(str, found)))

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
        settings = take(values, "settings", dict, where)
        _check_settings(settings, f"{where} (settings)")
        return cls(
            model=ModelIdentity.from_dict(take(values, "model", dict, where), f"{where} (model)"),
            instructions=tuple(instructions),
            method=take(values, "method", str, where),
            prompts=take(values, "prompts", (str, type(None)), where),
            settings=settings,
            measurements=take(values, "measurements", dict, where),
            version=take(values, "version", str, where),
            created=take(values, "created", (str, type(None)), where),
        )


def _check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Those that composing, scaling and moving go on with; what the others say is for people to read."""
    if "scale" in settings:
        finite_number(settings["scale"], "scale", where)
    for part in take(settings, "parts", list, where) if "parts" in settings else ():
        if not isinstance(part, dict):
            raise SteeringError(f"{where}: every one of 'parts' must be an object, not {part!r:.60}")
    blocks = take(settings, "moved_blocks", dict, where) if "moved_blocks" in settings else {}
    for here, there in blocks.items():
        if not (here.isascii() and here.isdigit()) or type(there) is not int:
            raise SteeringError(
                f"{where}: 'moved_blocks' must be whole numbers by whole numbers, not {here!r:.20}: {there!r:.20}"
            )
