"""Moving a steering to another model: the base of the model it was made on, another fine-tune, or a different shape.

Stolfo et al. (ICLR 2025, on cross-model steering) found that vectors made on an instruction-tuned model steer its base,
which reads instructions poorly, better than vectors made on the base itself. An edit goes to the block of the same
depth. Then its strength can be fitted again on validation queries of the new model; or, where the two models have
drifted too far apart for that, the edits themselves, by the source model's own answers
(`trimtab.learn.distillation.relearn`).
Between models of different widths a linear map of activations carries edits over (`trimtab.transferring.linear_map`).

A steering is used in the new model's own prompt format. What it does there is never taken for granted: the record
drops the old measurements and names where the edits come from, and `trimtab.transferring.compare` measures anew.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from trimtab import arguments
from trimtab import instructions as catalogue
from trimtab.engines import as_engine
from trimtab.errors import InstructionError, SteeringError
from trimtab.progress import Progress
from trimtab.prompts.queries import default_queries, query_list
from trimtab.steering.steering import Steering, given
from trimtab.transferring.linear_map import LinearMap, target_block

if TYPE_CHECKING:
    from trimtab.engines import Model
    from trimtab.instructions import Instruction
    from trimtab.measure.quality import FactCheck
    from trimtab.steering.edits import Edit
    from trimtab.steering.record import ModelIdentity
    from trimtab.tune.guard import Guard

Refit = Literal["none", "strength", "edits"]
"""What is fitted again in the new model."""

__all__ = ["Refit", "Transferred", "check_move", "fitted_by", "instruction_of", "move", "transfer"]


@dataclass(frozen=True)
class Transferred:
    """A steering in its new model.

    Attributes:
        steering: For the new model, its strength fitted if that was asked for.
        source: The model it was made on.
        target: The model it now is for.
        blocks: Where the edits of each block of the source went.
        strength: The factor that was fitted; 1 where none was.
        refit: What was fitted again.
        improved: Whether the steering beat no steering on the validation queries; None where none were answered.
        validation: What the search measured, plain JSON; empty without one.
        explained: Per source block, what the linear map explained of the new model's activations; empty without one.
    """

    steering: Steering
    source: ModelIdentity
    target: ModelIdentity
    blocks: dict[int, int]
    strength: float = 1.0
    refit: Refit = "none"
    improved: bool | None = None
    validation: dict[str, Any] = dataclasses.field(default_factory=dict)
    explained: dict[int, float] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What happened, as JSON; the steering itself is in its folder."""
        return {
            "name": self.steering.name,
            "digest": self.steering.digest(),
            "source": self.source.to_dict(),
            "target": self.target.to_dict(),
            "blocks": {str(block): there for block, there in self.blocks.items()},
            "strength": round(self.strength, 4),
            "refit": self.refit,
            "improved": self.improved,
            "validation": self.validation,
            "explained": {str(block): round(share, 4) for block, share in self.explained.items()},
        }


def transfer(
    steering: Steering,
    model: Model,
    *,
    refit: Refit = "strength",
    queries: Sequence[str] | None = None,
    source: Model | None = None,
    learning: Sequence[str] | None = None,
    instruction: Instruction | str | None = None,
    map: LinearMap | None = None,  # noqa: A002 (it is one)
    strengths: Sequence[float] | None = None,
    facts: FactCheck | None = None,
    guard: Guard | None = None,
    max_new_tokens: int = 192,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> Transferred:
    """Move a steering to another model and fit it to what it finds there.

    Args:
        steering: Made on some model.
        model: The model it shall steer.
        refit: `strength` looks for the best factor on validation queries of the new model. `edits` trains the edits
            on the answers of the model they were made on, which needs that model. `none` leaves them as they are.
        queries: The validation queries; 12 of the model's default ones by default.
        source: For `edits`, the model that the steering was made on.
        learning: For `edits`, queries to learn on; 48 of the model's default ones by default.
        instruction: What shall be followed, or its spelling; by default what the steering's record names.
        map: Carries the edits over between models of different widths, from `linear_map.fit`.
        strengths: Factors to try, 1 for the steering as it is; by default those of `tune.refit_strength`.
        facts: Judges the truth of a response to a query; None leaves facts out.
        guard: What quality may cost.
        max_new_tokens: Longest response, in tokens.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Which queries, and which validation phrasings meet them.
        progress: See `trimtab.progress.Progress`.

    Returns:
        The steering for the new model, and how it got there.

    Raises:
        SteeringError: The models have different widths and there is no map, or the map is for other models; the edits
            are to be fitted and the source is not given, or is not the model of the steering.
        InstructionError: Something is to be fitted, and the record does not name one instruction.
    """
    arguments.one_of(refit, "refit (what is fitted again)", get_args(Refit), SteeringError)
    given(steering)
    queries = None if queries is None else query_list(queries)
    learning = None if learning is None else query_list(learning, "learning")
    if map is not None:
        arguments.instance(map, "map", LinearMap, "a LinearMap (linear_map.fit learns one)", SteeringError)
    teacher = None if source is None else as_engine(source)
    if facts is not None:
        arguments.function(facts, "facts", "a function of query and response, or None", SteeringError)
    arguments.seed(seed, SteeringError)
    target = None if refit == "none" else fitted_by(steering, refit, instruction)
    engine = as_engine(model)
    moved, blocks = move(steering, engine.identity, map)
    explained: dict[int, float] = {}
    if map is not None:
        explained = {b: share for b, share in zip(map.blocks, map.explained, strict=True) if b in blocks}
    result = Transferred(moved, steering.record.model, engine.identity, blocks, explained=explained)
    if target is None:
        return result
    if queries is None:
        queries = default_queries(engine.identity, "validation", 12, seed)
    if refit == "edits":
        if teacher is None:
            raise SteeringError("to fit the edits again takes the model they were made on; give it as source")
        steering.check_model(teacher.identity)
        if learning is None:
            learning = default_queries(engine.identity, "learning", 48, seed)
        from trimtab.learn.distillation.relearn import relearn

        learned = relearn(
            teacher,
            engine,
            moved,
            learning,
            queries,
            target,
            max_new_tokens=max_new_tokens,
            progress=progress,
            seed=seed,
        )
        return dataclasses.replace(result, steering=learned, refit="edits")
    from trimtab import tune

    options: dict[str, Any] = {} if strengths is None else {"strengths": strengths}
    tuned = tune.refit_strength(
        engine,
        moved,
        target,
        list(queries),
        facts=facts,
        guard=guard,
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
        **options,
    )
    return dataclasses.replace(
        result,
        steering=tuned.steering,
        strength=0.0 if tuned.best.rejected else tuned.best.strength,
        refit="strength",
        improved=tuned.improved,
        validation={
            "n": len(queries),
            "baseline": round(tuned.baseline.followed, 4),
            "instructed": round(tuned.instructed.followed, 4),
            "candidates": [candidate.to_dict() for candidate in tuned.candidates],
        },
    )


def move(
    steering: Steering,
    target: ModelIdentity,
    map: LinearMap | None = None,  # noqa: A002
) -> tuple[Steering, dict[int, int]]:
    """The edits of a steering in another model, and where those of each block went.

    Args:
        steering: Made on some model.
        target: The model it shall steer: of the same width, or the one that `map` leads to.
        map: Carries the edits over; None takes them as they are.

    Returns:
        The steering for the target, and `{source block: target block}`.

    Raises:
        SteeringError: The widths differ and there is no map, or the map is for other models.
    """
    source = steering.record.model
    if map is not None:
        for name, own, other in (("from", source, map.source), ("to", target, map.target)):
            reason = other.refusal(own)
            if reason is not None:
                raise SteeringError(f"the map leads {name} {other}, not {name} {own}: {reason}")
    check_move(steering, target, mapped=map is not None)
    blocks = {block: target_block(block, source.blocks, target.blocks) for block in steering.blocks}
    edits = tuple(_moved(edit, blocks[edit.block], map) for edit in steering.edits)
    # What an earlier move did says nothing about this one.
    made = {
        name: value
        for name, value in steering.record.settings.items()
        if name not in ("moved_blocks", "linear_map", "relearned")
    }
    settings: dict[str, Any] = {**made, "moved_from": source.to_dict()}
    if any(block != there for block, there in blocks.items()):
        settings["moved_blocks"] = {str(block): there for block, there in blocks.items()}
    if map is not None:
        settings["linear_map"] = {
            "prompts": map.prompts,
            "explained": [round(share, 4) for share in map.explained],
        }
    record = dataclasses.replace(steering.record, model=target, settings=settings, measurements={})
    return dataclasses.replace(steering, edits=edits, record=record), blocks


def check_move(steering: Steering, target: ModelIdentity, *, mapped: bool = False) -> None:
    """Refuse what cannot be moved, before any work.

    Raises:
        SteeringError: The widths differ and there is to be no map, or a `when` was learned on another model.
    """
    source = steering.record.model
    if source.width != target.width and not mapped:
        raise SteeringError(
            f"the steering '{steering.name}' is for {source}, not for {target}: the widths differ; "
            "learn a linear map between the two models (`linear_map.fit`, `trimtab transfer --map`)"
        )
    for when in steering.whens:
        reason = when.refusal(target)
        if reason is not None:
            raise SteeringError(
                f"the steering '{steering.name}' acts only if {when.describe()}, which was learned on another "
                f"model ({reason}); move it without (`always()`, `trimtab when --remove`), and learn the "
                "rest anew"
            )


def fitted_by(
    steering: Steering,
    refit: Refit = "none",
    instruction: Instruction | str | None = None,
    *,
    judged: bool = False,
) -> Instruction:
    """The instruction by which a steering is fitted again or measured, before any model is loaded.

    Args:
        steering: The steering.
        refit: What is to be fitted again; `none` if it is only measured.
        instruction: What shall be followed; by default what the steering's record names.
        judged: Whether an instruction that has a question in the place of a check is going to get a judge.

    Raises:
        InstructionError: The record does not name one instruction, or that one has neither check nor judge.
        SteeringError: There is nothing to fit.
    """
    found = instruction_of(steering) if instruction is None else catalogue.resolve(instruction)
    if not found.can_check and not (judged and found.question is not None):
        mend = "" if found.question is None else "name who judges (--judged-by), or "
        raise InstructionError(
            f"{found.label} has no check, so nothing says whether an answer of '{steering.name}' follows it; "
            f"{mend}move it without fitting and measuring"
        )
    if refit != "none" and not steering.edits:
        raise SteeringError(f"the steering '{steering.name}' has no edits, so there is nothing to fit again")
    if refit == "edits" and steering.whens:
        raise SteeringError(
            f"the steering '{steering.name}' does not always act, so its edits cannot be learned anew; "
            "fit its strength, or move it without its conditions (`always()`, `trimtab when --remove`)"
        )
    return found


def _moved(edit: Edit, block: int, mapped: LinearMap | None) -> Edit:
    if mapped is not None:
        return mapped.edit(edit)
    return edit if block == edit.block else dataclasses.replace(edit, block=block)


def instruction_of(steering: Steering) -> Instruction:
    """The one instruction that a steering stands for.

    Raises:
        InstructionError: Its record names none, or several.
    """
    named = steering.record.instructions
    if len(named) != 1:
        count = "no instruction" if not named else f"{len(named)} instructions"
        raise InstructionError(
            f"the record of the steering '{steering.name}' names {count}, so nothing says what to measure; "
            "give the instruction, or move it without fitting and measuring"
        )
    return catalogue.from_dict(named[0])
