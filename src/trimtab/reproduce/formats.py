"""Format instructions, with and without their text: the paper's section 3."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.measure.quality import perplexity_of
from trimtab.measure.rows import CONDITIONS
from trimtab.measure.statistics import mean
from trimtab.reproduce import paper
from trimtab.reproduce.charts import Chart
from trimtab.reproduce.material import group_of
from trimtab.reproduce.protocol import NONE, Setup, by_group, followed, share
from trimtab.reproduce.results import Table, bars

if TYPE_CHECKING:
    from trimtab.evaluate.suites import Item
    from trimtab.steering.steering import Steering


@dataclass(frozen=True)
class Chosen:
    """What was chosen for one instruction, without (False) and with its text: steerings, and their blocks as text."""

    steering: dict[bool, Steering | None]
    blocks: dict[bool, str]


def choose_blocks(
    setup: Setup,
    group: str,
    items: Sequence[Item],
    steerings: dict[int, Steering],
) -> Chosen:
    """The block of one instruction, once for prompts without its text and once for prompts with it.

    Tried are the steerings, by block: set projections of its vectors, say.
    """
    setup.step(f"{group}: choosing the block")
    one_language = group.startswith("language")
    validation = setup.material.held_out(
        [item.instructions[0] for item in items], 1 if one_language else setup.validation
    )
    candidates = {NONE: None, **{str(block): steering for block, steering in steerings.items()}}
    long = group in ("json", "sections")  # cut off, these would fail their check
    steering: dict[bool, Steering | None] = {}
    blocks: dict[bool, str] = {}
    for spoken in (False, True):
        name, _ = setup.choose(
            validation, candidates, spoken=spoken, most=1024 if long else paper.SEARCH_TOKENS
        )
        steering[spoken] = None if name == NONE else steerings[int(name)]
        blocks[spoken] = name
    return Chosen(steering, blocks)


def learn_all(setup: Setup) -> dict[str, Chosen]:
    """Vectors and blocks of all format instructions."""
    chosen = {}
    for group, items in setup.material.groups().items():
        setup.step(f"{group}: learning")
        instructions = [item.instructions[0] for item in items]
        pairs = setup.material.pairs(instructions, items, setup.pairs)
        vectors = setup.vectors(pairs, instructions[0])
        chosen[group] = choose_blocks(setup, group, items, setup.projections(vectors))
    return chosen


def run(setup: Setup) -> tuple[list[Table], list[Chart]]:
    """The experiment: shares followed, overall and by instruction, and the chosen blocks."""
    chosen = learn_all(setup)
    items = list(setup.material.format)
    groups = [group_of(item.instructions[0]) for item in items]
    setup.step("answering the test prompts")
    steered = {spoken: [chosen[group].steering[spoken] for group in groups] for spoken in (False, True)}
    answers = setup.in_conditions(items, steered)
    loose = {name: followed(items, part) for name, part in answers.items()}
    strict = {name: followed(items, part, strict=True) for name, part in answers.items()}
    overall = Table(
        "Share of answers that follow the instruction",
        ("condition", "loose", "strict", "perplexity", "repetition"),
        tuple(
            (
                name,
                share(loose[name]),
                share(strict[name]),
                perplexity_of([response.nll for response in part]),
                mean(response.repetition for response in part),
            )
            for name, part in answers.items()
        ),
        note=f"{len(items)} prompts, {len(chosen)} instructions. Perplexity of the answer to the bare query, under the "
        "unsteered model.",
        form="the bars of the format experiment, without and with text instructions",
    )
    by_instruction = Table(
        "By instruction (loose)",
        ("instruction", "n", *CONDITIONS),
        by_group(groups, list(loose.values())),
    )
    blocks = Table(
        "Chosen block",
        ("instruction", "without text", "with text"),
        tuple((group, each.blocks[False], each.blocks[True]) for group, each in chosen.items()),
        note="none: no block did better on validation prompts than no steering.",
    )
    label = "share of answers that follow the instruction (loose)"
    charts = [
        bars("overall", f"Format instructions: {setup.engine.identity.id}", label, overall, ["loose"]),
        bars("instructions", "By instruction", label, by_instruction, list(CONDITIONS)),
    ]
    beside = setup.beside(
        "format",
        {
            (check, name): (share(verdicts), len(items))
            for check, conditions in (("loose", loose), ("strict", strict))
            for name, verdicts in conditions.items()
        },
    )
    if setup.published:
        beside.append(setup.published.by_instruction())
    return [overall, by_instruction, blocks, *beside], charts
