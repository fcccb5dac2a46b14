"""What a demonstration does, and how much of it: broad for the small built-in model, leaner for real ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trimtab import arguments, nano
from trimtab import instructions as catalogue
from trimtab.engines.batching import check_batch_size
from trimtab.errors import SteeringError
from trimtab.instructions import Instruction
from trimtab.instructions.spelling import resolve_all
from trimtab.learn.distillation.sizes import default_sizes
from trimtab.steering.record import identity_given

if TYPE_CHECKING:
    from trimtab.steering.steering import ModelIdentity


@dataclass(frozen=True)
class Plan:
    """What a demonstration does, and how much of it.

    Attributes:
        instructions: What to learn and measure, each on its own.
        pairs: Queries to learn on.
        training_steps: Steps of a distillation, at most; None leaves them to it.
        validation: Queries on which the training of edits is ended, and block and strength of a vector are chosen.
        test: Queries on which the result is measured.
        max_new_tokens: Longest answer, in tokens.
        vector: Whether the mean difference is learned and searched for beside what is distilled. It is in any case for
            an instruction that could not be distilled.
        blocks: Decoder blocks the vector's search tries; None leaves them to it.
        strengths: Strengths the vector's search tries, 1 for the instruction's own effect; None leaves them to it.
        rank: Edits in each block; None leaves them to the distillation, which tries more where few do not do.
        facts: Closed-book questions asked plain and under each steering; a built-in model is asked none.
        constrained: Whether the constrained conditions are measured too.
        batch_size: Rows per batch; None lets the engine choose.
        seed: Chooses queries and phrasings.
    """

    instructions: tuple[Instruction, ...]
    pairs: int = 48
    training_steps: int | None = 80
    validation: int = 12
    test: int = 32
    max_new_tokens: int = 192
    vector: bool = True
    blocks: tuple[int, ...] | None = None
    strengths: tuple[float, ...] | None = None
    rank: int | None = None
    facts: int = 0
    constrained: bool = False
    batch_size: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        arguments.each(self.instructions, "instructions", "instructions", Instruction, SteeringError)
        for name, least in (
            ("pairs", 1),
            ("validation", 1),
            ("test", 1),
            ("max_new_tokens", 1),
            ("facts", 0),
        ):
            arguments.whole(getattr(self, name), f"{name} of a demonstration", SteeringError, least=least)
        for name in ("training_steps", "rank"):
            if getattr(self, name) is not None:
                arguments.whole(getattr(self, name), name, SteeringError, least=1)
        for name in ("vector", "constrained"):
            arguments.flag(getattr(self, name), name, SteeringError)
        for name in ("blocks", "strengths"):
            if getattr(self, name) is not None:
                arguments.each(getattr(self, name), name, "numbers", (int, float), SteeringError)
        check_batch_size(self.batch_size)
        arguments.seed(self.seed, SteeringError)


def plan_for(
    identity: ModelIdentity,
    instructions: Instruction | str | Sequence[Instruction | str] | None = None,
    **changes: Any,
) -> Plan:
    """The plan that suits a model.

    Args:
        identity: The model.
        instructions: What to show, or spellings of it; None takes `default_instructions`.
        **changes: Fields of `Plan` to set otherwise; None keeps the default.

    Raises:
        InstructionError: There is no such instruction, or one is named twice.
    """
    small = nano.is_built_in(identity_given(identity).id)
    known = [one.name for one in dataclasses.fields(Plan)]
    if unknown := [name for name in changes if name not in known]:
        raise SteeringError(f"a demonstration has no {' and no '.join(unknown)}; it has {', '.join(known)}")
    wanted = default_instructions(small=small) if instructions is None else resolve_all(instructions)
    plan = (_plan_for_nano if small else _plan_for_real_model)(identity, tuple(wanted))
    return dataclasses.replace(plan, **{name: value for name, value in changes.items() if value is not None})


def default_instructions(*, small: bool = True) -> list[Instruction]:
    """The instructions a demonstration shows when none are named: format, case, length, punctuation, words.

    On the built-in, small model nine take minutes; real models get three.
    """
    get = catalogue.get
    if not small:
        return [get("no_commas"), get("lowercase"), get("quotes")]
    return [
        get("json"),
        get("lowercase"),
        get("sentences", at_most=2),
        get("no_commas"),
        get("include", word="dragon"),
        get("bullets", num_bullets=3),
        get("title"),
        get("quotes"),
        get("exclude", word="wood"),
    ]


def _plan_for_nano(identity: ModelIdentity, instructions: tuple[Instruction, ...]) -> Plan:
    # All of its few blocks, the last included, and far beyond the instruction's own strength: in a model that reads the
    # instruction anew at every token, the difference at one token is a weak lever. Its answers take under 100 tokens.
    return Plan(
        instructions,
        max_new_tokens=128,
        blocks=tuple(range(identity.blocks)),
        strengths=(0.5, 1.0, 4.0, 8.0, 16.0),
    )


def _plan_for_real_model(identity: ModelIdentity, instructions: tuple[Instruction, ...]) -> Plan:
    # As much learning as `trimtab learn` spends, since that is what is shown, but for its second course: some four
    # instructions in ten get one, of three more minutes or four. Nor is there time for the search of a vector; where
    # one is asked for, four blocks from the first third on show where an instruction acts.
    depths = (0.35, 0.5, 0.65, 0.8)
    blocks = {min(round(identity.blocks * depth), identity.blocks - 1) for depth in depths}
    return Plan(
        instructions,
        pairs=64,
        training_steps=None,
        rank=default_sizes(identity.blocks)[0].rank,
        validation=24,
        test=24,
        max_new_tokens=160,
        vector=False,
        facts=60,
        blocks=tuple(sorted(blocks)),
        strengths=(1.0, 2.0, 4.0),
    )
