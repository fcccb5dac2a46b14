"""What learning gives: one direction per block, and where prompts with and without the instruction lie on it.

A direction becomes a steering in two ways (the formula is in `trimtab.steering.edits`):

- `add`: h <- h + strength * (instructed - plain) * u, so that strength 1 moves a token as far as the instruction
  does on average;
- `set_projection`: h <- h + (target - <u, h>) u with target = plain + strength * (instructed - plain), so that
  strength 1 puts every token where instructed prompts lie (Stolfo et al., ICLR 2025, `c = mean - x.u`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from trimtab import arguments
from trimtab._version import __version__
from trimtab.errors import SteeringError
from trimtab.steering.documents import canonical_digest, finite_number, finite_vector, take
from trimtab.steering.edits import Edit, TokenScope
from trimtab.steering.folder import DIRECTIONS, read_folder, write_folder
from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.steering import Steering

Application = Literal["add", "set_projection"]
APPLICATIONS: tuple[Application, ...] = get_args(Application)


@dataclass(frozen=True, eq=False)
class Directions:
    """One unit direction for each of `L` blocks of a model.

    Attributes:
        name: What steerings made of it are called: the instruction with its parameters.
        method: How it was learned, such as `mean_difference`.
        instruction: `{"name": ..., "params": {...}}` of the instruction that steerings made of it stand for; None for
            none.
        model: The model it was learned on.
        blocks: The blocks, ascending, 0-based.
        directions: `[L, d]` float32, unit norm; a row of zeros where the instruction made no difference.
        instructed: `[L]` float32, mean projection of instructed prompts on the direction.
        plain: `[L]` float32, mean projection of plain prompts.
        difference_norm: `[L]` float32, norm of the mean difference of the two. It equals `instructed - plain` for
            `mean_difference`; for other directions it is larger, and the ratio says how much of it they hold.
        prompts: Digest of the prompt pairs.
        pairs: Their number.
        settings: More about how it was learned, plain JSON.
        version: The trimtab that learned it.
        created: When, ISO 8601, if known.
    """

    name: str
    method: str
    instruction: dict[str, Any] | None
    model: ModelIdentity
    blocks: tuple[int, ...]
    directions: Tensor = field(repr=False)
    instructed: Tensor = field(repr=False)
    plain: Tensor = field(repr=False)
    difference_norm: Tensor = field(repr=False)
    prompts: str
    pairs: int
    settings: dict[str, Any] = field(default_factory=dict)
    version: str = __version__
    created: str | None = None

    def direction(self, block: int) -> Tensor:
        """The unit direction of a block, `[d]` float32.

        Raises:
            SteeringError: It was not learned, or the instruction makes no difference there.
        """
        return self.directions[self._row(block)]

    def add(self, block: int, strength: float = 1.0, tokens: TokenScope = "all") -> Steering:
        """A steering that adds `strength` times what the instruction adds along the direction on average.

        1 is the instruction's own effect; a negative strength turns it round.

        Raises:
            SteeringError: There is no direction for the block, or the strength is not finite.
        """
        row = self._row(block)
        distance = float(self.instructed[row].double() - self.plain[row].double())
        edit = Edit.add(block, self.directions[row], self._finite(strength) * distance, tokens)
        return self._steering(edit, "add", strength)

    def set_projection(self, block: int, strength: float = 1.0, tokens: TokenScope = "all") -> Steering:
        """A steering that sets every token's projection to `plain + strength * (instructed - plain)`.

        1 puts tokens where instructed prompts are on average, 0 where plain ones are, a negative strength beyond.

        Raises:
            SteeringError: There is no direction for the block, or the strength is not finite.
        """
        row = self._row(block)
        plain = float(self.plain[row])
        target = plain + self._finite(strength) * (float(self.instructed[row]) - plain)
        edit = Edit.set_projection(block, self.directions[row], target, tokens)
        return self._steering(edit, "set_projection", strength)

    def steering(
        self, application: Application, block: int, strength: float = 1.0, tokens: TokenScope = "all"
    ) -> Steering:
        """`add` or `set_projection`, by name.

        Raises:
            SteeringError: There is no such way to apply a direction, or as for those.
        """
        if application == "add":
            return self.add(block, strength, tokens)
        if application == "set_projection":
            return self.set_projection(block, strength, tokens)
        raise SteeringError(f"a direction is applied by {' or '.join(APPLICATIONS)}, not by {application!r}")

    def standing_for(self, name: str, instruction: Mapping[str, Any]) -> Directions:
        """The same directions for another instruction, as its `to_dict` is: an exclusion learned from its inclusion."""
        if dict(instruction) == self.instruction:
            return self
        settings = {**self.settings, "learned_from": self.instruction}
        return dataclasses.replace(self, name=name, instruction=dict(instruction), settings=settings)

    def digest(self) -> str:
        """`"sha256:..."` of the directions and how they were learned; not of the name or the creation time."""
        document = self._document()
        for key in ("name", "version", "created"):
            del document[key]
        values = {name: tensor.double().flatten().tolist() for name, tensor in self._tensors().items()}
        return canonical_digest([document, values])

    def save(self, folder: str | Path) -> Path:
        """Write `directions.json` and `directions.safetensors` into a folder, atomically.

        They may lie beside a steering in the same folder.

        Raises:
            SteeringError: The folder holds something else or cannot be written.
        """
        return write_folder(folder, DIRECTIONS, self._document(), self._tensors())

    @classmethod
    def load(cls, folder: str | Path, model: ModelIdentity | None = None) -> Directions:
        """Read saved directions; without a model to use them on, whatever theirs is.

        Raises:
            SteeringError: The folder is missing, holds no directions, is damaged, of a newer format, or for
                another model.
        """
        document, tensors, mismatch = read_folder(folder, DIRECTIONS)
        where = DIRECTIONS.document_path(Path(folder))
        identity = ModelIdentity.from_dict(take(document, "model", dict, where), f"{where} (model)")
        blocks = take(document, "blocks", list, where)
        known = all(isinstance(block, int) and 0 <= block < identity.blocks for block in blocks)
        if not known or not blocks or blocks != sorted(set(blocks)):
            raise SteeringError(
                f"{where}: 'blocks' must be different blocks from 0 to {identity.blocks - 1}, ascending"
            )
        rows = len(blocks)
        instruction = take(document, "instruction", (dict, type(None)), where)
        if instruction is not None and not (
            isinstance(instruction.get("name"), str) and isinstance(instruction.get("params"), dict)
        ):
            raise SteeringError(
                f"{where}: the instruction needs a 'name' and 'params', not {instruction!r:.60}"
            )
        result = cls(
            name=take(document, "name", str, where),
            method=take(document, "method", str, where),
            instruction=instruction,
            model=identity,
            blocks=tuple(blocks),
            directions=finite_vector(tensors, "directions", (rows, identity.width), where),
            instructed=finite_vector(tensors, "instructed", (rows,), where),
            plain=finite_vector(tensors, "plain", (rows,), where),
            difference_norm=finite_vector(tensors, "difference_norm", (rows,), where),
            prompts=take(document, "prompts", str, where),
            pairs=int(finite_number(document.get("pairs"), "pairs", where)),
            settings=take(document, "settings", dict, where),
            version=take(document, "version", str, where),
            created=take(document, "created", (str, type(None)), where),
        )
        if mismatch is not None:
            raise SteeringError(mismatch)
        reason = identity.refusal(model) if model is not None else None
        if reason is not None:
            raise SteeringError(
                f"the directions in {folder} are for {identity}, not for {model}: {reason}; learn them again"
            )
        return result

    def _document(self) -> dict[str, Any]:
        names = (
            "name",
            "method",
            "instruction",
            "model",
            "blocks",
            "prompts",
            "pairs",
            "settings",
            "version",
            "created",
        )
        document = {name: getattr(self, name) for name in names}
        return {**document, "model": self.model.to_dict(), "blocks": list(self.blocks)}

    def _tensors(self) -> dict[str, Tensor]:
        names = ("directions", "instructed", "plain", "difference_norm")
        return {name: getattr(self, name) for name in names}

    def _row(self, block: int) -> int:
        if arguments.whole(block, "block", SteeringError) not in self.blocks:
            raise SteeringError(
                f"there is no direction for block {block} of '{self.name}': it was learned for blocks "
                f"{', '.join(map(str, self.blocks))}"
            )
        row = self.blocks.index(block)
        if not bool(self.directions[row].any()):
            raise SteeringError(
                f"'{self.name}' makes no difference at block {block}, so there is no direction to apply"
            )
        return row

    def _finite(self, strength: float) -> float:
        return arguments.number(strength, "a strength", SteeringError)

    def _steering(self, edit: Edit, application: Application, strength: float) -> Steering:
        settings = {
            **self.settings,
            "application": application,
            "block": edit.block,
            "strength": float(strength),
            "tokens": edit.tokens,
            "pairs": self.pairs,
        }
        record = Record(
            model=self.model,
            instructions=() if self.instruction is None else (self.instruction,),
            method=self.method,
            prompts=self.prompts,
            settings=settings,
            version=self.version,
            created=self.created,
        )
        return Steering(name=self.name, edits=(edit,), record=record)


def directions_given(directions: Any) -> Directions:
    """Directions that somebody gave.

    Raises:
        SteeringError: They are none.
    """
    of = "Directions, such as learn.mean_difference gives"
    found: Directions = arguments.instance(directions, "directions", Directions, of, SteeringError)
    return found


def oriented(directions: Tensor, difference: Tensor) -> Tensor:
    """Unit directions that point where the instruction moves, `[L, d]` in the dtype given.

    Each row's sign is that of its mean difference, a row of the second `[L, d]`; rows of zeros stay zeros.
    """
    norms = torch.linalg.vector_norm(directions, dim=-1, keepdim=True)
    unit = torch.where(norms > 0, directions / norms.clamp_min(torch.finfo(directions.dtype).tiny), 0.0)
    along = (unit * difference).sum(-1, keepdim=True)
    return torch.where(along < 0, -unit, unit)
