"""Vectors of an instruction-tuned model in its base: the paper's cross-model steering, section 7.

Beside the paper's two vectors, of the base itself and of its instruction-tuned relative, stand steerings that were made
on the relative in another way, where the setup can make some.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.errors import TrimtabError
from trimtab.reproduce.charts import Chart
from trimtab.reproduce.formats import Chosen, choose_blocks
from trimtab.reproduce.material import group_of
from trimtab.reproduce.protocol import Setup, by_group, followed, share
from trimtab.reproduce.results import Table, bars
from trimtab.transferring.move import move

if TYPE_CHECKING:
    from trimtab.steering.steering import Steering

NO, SAME, CROSS, MADE = "no steering", "same-model vector", "cross-model vector", "distilled, moved"


def run(setup: Setup) -> tuple[list[Table], list[Chart]]:
    """The experiment, on a base model."""
    source = setup.source
    if source is None:
        raise TrimtabError(
            f"the paper has no base model for {setup.settings.name}; take gemma-2-2b, gemma-2-9b or nano"
        )
    same: dict[str, Chosen] = {}
    cross: dict[str, Chosen] = {}
    made: dict[str, Steering] = {}
    groups = setup.material.groups()
    for group, items in groups.items():
        setup.step(f"{group}: learning on both models")
        instructions = [item.instructions[0] for item in items]
        pairs = setup.material.pairs(instructions, items, setup.pairs)
        own = setup.vectors(pairs, instructions[0])
        theirs = setup.vectors(pairs, instructions[0], source)
        moved = {
            block: move(steering, setup.engine.identity)[0]
            for block, steering in setup.projections(theirs).items()
        }
        same[group] = choose_blocks(setup, group, items, setup.projections(own))
        cross[group] = choose_blocks(setup, group, items, moved)
        if setup.made is not None:
            setup.step(f"{group}: another steering")
            made[group] = setup.made(instructions[0])
    items = list(setup.material.format)
    names = [group_of(item.instructions[0]) for item in items]
    ways = [NO, SAME, CROSS, *([MADE] if made else [])]
    verdicts: dict[tuple[bool, str], list[bool]] = {}
    for told in (False, True):
        for way in ways:
            setup.step(f"{'with' if told else 'without'} text: {way}")
            applied: list[Steering | None] | None = None
            if way in (SAME, CROSS):
                applied = [(same if way == SAME else cross)[name].steering[told] for name in names]
            elif way == MADE:
                applied = [made[name] for name in names]
            verdicts[told, way] = followed(items, setup.answer(items, applied, spoken=told))
    overall = Table(
        "Share of answers of the base model that follow the instruction (loose)",
        ("steering", "without text", "with text"),
        tuple((way, share(verdicts[False, way]), share(verdicts[True, way])) for way in ways),
        note=f"{len(items)} prompts, {len(groups)} instructions; vectors of {source.identity.id} in "
        f"{setup.engine.identity.id}.",
        form="the bars of cross-model steering",
    )
    detail = Table(
        "By instruction, without text (loose)",
        ("instruction", "n", *ways, f"{NO}, with text"),
        by_group(names, [*(verdicts[False, way] for way in ways), verdicts[True, NO]]),
    )
    label = "share of answers that follow the instruction (loose)"
    beside = setup.beside(
        "transfer",
        {
            (f"{'with' if told else 'without'} text", way): (share(found), len(items))
            for (told, way), found in verdicts.items()
        },
    )
    return [overall, detail, *beside], [
        bars("overall", "Cross-model steering", label, overall, ["without text", "with text"])
    ]
