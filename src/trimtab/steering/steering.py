"""A steering: edits for one model, and the record of where they come from and what they measured.

It is the artefact a user keeps and shares. Steerings of one model compose with `+` (the union of their edits: edits of
the same block act simultaneously, so the order never matters) and scale with `*` (an edit's change is linear in its u).
`when` says when its edits act; a composition keeps that of each part, since every edit carries its own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab import arguments
from trimtab.errors import SteeringError
from trimtab.steering import card as steering_card
from trimtab.steering.documents import canonical_digest, finite_number
from trimtab.steering.edit_files import edits_document
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.saving import Saved
from trimtab.steering.when import When

if TYPE_CHECKING:
    from trimtab.steering.hooks import Steered
    from trimtab.steering.phases import PromptLengths
    from trimtab.thoughts import ThoughtFormat

__all__ = ["ModelIdentity", "Record", "Steering"]


@dataclass(frozen=True, eq=False)
class Steering(Saved):
    """A named set of edits for one model.

    Attributes:
        name: What to call it; no meaning attached.
        edits: The edits; their order does not matter.
        record: Where they come from.

    Raises:
        SteeringError: An edit does not fit the record's model, or something is of another type.
    """

    name: str
    edits: tuple[Edit, ...]
    record: Record

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise SteeringError(f"a steering's name is a text, not {self.name!r:.60}")
        if not isinstance(self.record, Record):
            raise SteeringError(
                f"the record of the steering '{self.name}' is a trimtab.Record, not {type(self.record).__name__}"
            )
        edits = (
            tuple(self.edits)
            if isinstance(self.edits, Iterable) and not isinstance(self.edits, Mapping)
            else (None,)
        )
        if not all(isinstance(edit, Edit) for edit in edits):
            raise SteeringError(
                f"the edits of the steering '{self.name}' are a list of trimtab.Edit, not {self.edits!r:.60}"
            )
        object.__setattr__(self, "edits", edits)
        for edit in self.edits:
            _check_edit(edit, self.record.model, f"the steering '{self.name}'")

    @property
    def blocks(self) -> tuple[int, ...]:
        """The blocks that are edited, ascending, each once."""
        return tuple(sorted({edit.block for edit in self.edits}))

    @property
    def whens(self) -> tuple[When, ...]:
        """Each different `when` of its edits, in the order of the edits; none if all act on every prompt."""
        return tuple(dict.fromkeys(edit.when for edit in self.edits if edit.when is not None))

    def when(self, when: When) -> Steering:
        """The same steering, for the prompts alone for which a `when` holds; on those it acts as before.

        Edits that have one already act if both hold. What was measured stays in the record: it was measured
        on prompts where the steering acts.

        Args:
            when: See `trimtab.steering.when`, and `trimtab.learn.when` to learn one.

        Raises:
            SteeringError: It was learned on another model.
        """
        if not isinstance(when, When):
            raise SteeringError(
                f"when to act is said by trimtab.steering.when or trimtab.learn.when, not {when!r:.60}; for a "
                "function write when.Rule(function), for a regular expression when.Matches(text)"
            )
        reason = when.refusal(self.record.model)
        if reason is not None:
            raise SteeringError(f"the steering '{self.name}' is for {self.record.model}; {reason}")
        edits = tuple(
            dataclasses.replace(edit, when=when if edit.when is None else edit.when & when)
            for edit in self.edits
        )
        return dataclasses.replace(self, edits=edits)

    def always(self) -> Steering:
        """The same steering for every prompt, without any `when`."""
        return self.decided(lambda when: True)

    def decided(self, holds: Callable[[When], bool]) -> Steering:
        """What acts on one prompt: the edits whose `when` holds, which then have none.

        Args:
            holds: Says of each of `whens` whether it does.
        """
        verdicts = {when: holds(when) for when in self.whens}
        if not verdicts:
            return self
        edits = tuple(
            edit if edit.when is None else dataclasses.replace(edit, when=None)
            for edit in self.edits
            if edit.when is None or verdicts[edit.when]
        )
        return dataclasses.replace(self, edits=edits)

    def check_model(self, identity: ModelIdentity, *, allow_other_model: bool = False) -> None:
        """Make sure that this steering may be applied to a model.

        Args:
            identity: The model it is about to be applied to.
            allow_other_model: Take any model with the same number of blocks and the same width, a fine-tune of the
                original or its base, say. The name, architecture and chat template are then not compared.

        Raises:
            SteeringError: It may not; the message names both models.
        """
        arguments.flag(allow_other_model, "allow_other_model", SteeringError)
        own = self.record.model
        reason = own.refusal(identity, allow_other_model=allow_other_model)
        if reason is None:
            return
        way_out = "learn it on this model"
        if own.refusal(identity, allow_other_model=True) is None:
            way_out += ", or allow another model of the same shape (`moved_to`, `allow_other_model`)"
        raise SteeringError(
            f"the steering '{self.name}' is for {own}, not for {identity}: {reason}; {way_out}"
        )

    def moved_to(self, identity: ModelIdentity) -> Steering:
        """The same edits for another model of the same shape: a fine-tune of the original, or its base.

        Whether they do there what they did here is to be measured. The record names where they come from.

        Raises:
            SteeringError: The other model has another number of blocks or another width.
        """
        self.check_model(identity, allow_other_model=True)
        settings = {**self.record.settings, "moved_from": self.record.model.to_dict()}
        record = dataclasses.replace(self.record, model=identity, settings=settings, measurements={})
        return dataclasses.replace(self, record=record)

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

    def __radd__(self, other: int) -> Steering:
        """What `sum` begins with is 0, which adds nothing."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __sub__(self, other: Steering) -> Steering:
        """This steering and the opposite of another.

        Raises:
            SteeringError: They are for different models.
        """
        if not isinstance(other, Steering):
            return NotImplemented
        return dataclasses.replace(self + -other, name=f"{self.name}-{other.name}")

    def __mul__(self, strength: float) -> Steering:
        """The same steering, `strength` times as strong; negative turns it round, 0 leaves no edit at all.

        Raises:
            SteeringError: The strength is not finite.
        """
        if isinstance(strength, bool) or not isinstance(strength, int | float):
            return NotImplemented
        strength = finite_number(strength, "a strength", f"'{self.name}'")
        if strength == 1:
            return self
        scale = finite_number(self.record.settings.get("scale", 1.0), "scale", self.name) * strength
        edits = tuple(edit.scaled(strength) for edit in self.edits) if strength else ()
        record = dataclasses.replace(
            self.record, settings={**self.record.settings, "scale": scale}, measurements={}
        )
        return dataclasses.replace(self, edits=edits, record=record)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> Steering:
        """The same steering, so many times weaker.

        Raises:
            SteeringError: The divisor is 0, or not finite.
        """
        if isinstance(divisor, bool) or not isinstance(divisor, int | float):
            return NotImplemented
        if not finite_number(divisor, "a divisor", f"'{self.name}'"):
            raise SteeringError(f"'{self.name}' cannot be divided by 0; multiply it by 0 for no edits")
        return self * (1 / divisor)

    def __repr__(self) -> str:
        edits = f"{len(self.edits)} edit{'' if len(self.edits) == 1 else 's'}"
        blocks = f" of blocks {', '.join(map(str, self.blocks))}" if self.edits else ""
        return f"Steering({self.name!r}, {edits}{blocks}, for {self.record.model})"

    def _repr_html_(self) -> str:
        """The card, as a notebook shows it."""
        return f"<pre>{html.escape(self.describe())}</pre>"

    def __neg__(self) -> Steering:
        """The opposite steering: strength -1."""
        return self * -1.0

    def digest(self) -> str:
        """`"sha256:..."` of what this steering does and how it was made: edits, model, instructions, settings.

        Its name, its creation time and its measurements are not part of it: learning the same thing again gives the
        same digest.

        Raises:
            SteeringError: A `when` is Python code.
        """
        content = hashlib.sha256()
        document = {**self.record.to_dict(), **edits_document(self.edits, self.whens)}
        for key in ("measurements", "created", "version"):
            del document[key]
        if self.whens:
            document["conditions"] = [when.content() for when in self.whens]
        content.update(canonical_digest(document).encode())
        for tensor in (tensor for edit in self.edits for tensor in (edit.u, edit.p) if tensor is not None):
            content.update(tensor.numpy().tobytes())
        return "sha256:" + content.hexdigest()

    def on(
        self,
        model: Any,
        *,
        prompt_lengths: PromptLengths | None = None,
        tokenizer: Any = None,
        decoder_blocks: str | None = None,
        allow_other_model: bool = False,
        thoughts: ThoughtFormat | str | None = None,
    ) -> Steered:
        """A context in which a transformers model is steered, whoever runs it: `with steering.on(model): ...`.

        Args and errors are those of `trimtab.on`, which also takes one steering for each row.
        """
        from trimtab.steering.held import on

        return on(
            model,
            self,
            prompt_lengths=prompt_lengths,
            tokenizer=tokenizer,
            decoder_blocks=decoder_blocks,
            allow_other_model=allow_other_model,
            thoughts=thoughts,
        )

    def describe(self) -> str:
        """A short card to read: what it does, for which model, how it was made, what it measured."""
        return steering_card.describe(self)


def given(steering: Any, name: str = "steering") -> Steering:
    """A steering that somebody gave; `name` is the argument it is.

    Raises:
        SteeringError: It is none.
    """
    of = "a trimtab.Steering"
    if isinstance(steering, str | Path):
        of += f"; read it: trimtab.Steering.load({str(steering)!r})"
    found: Steering = arguments.instance(steering, name, Steering, of, SteeringError)
    return found


def _parts(steering: Steering) -> list[dict[str, Any]]:
    """How the parts of a composition were made; a composition that was not scaled since gives its own parts."""
    record = steering.record
    if set(record.settings) == {"parts"} and isinstance(record.settings["parts"], list | tuple):
        return list(record.settings["parts"])
    return [
        {
            "name": steering.name,
            "method": record.method,
            "prompts": record.prompts,
            "settings": record.settings,
        }
    ]


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
    when = edit.when
    reason = None if when is None else when.refusal(model, allow_other_model=True)
    if reason is not None:
        raise SteeringError(f"{where} does not fit {model}: {reason}")
