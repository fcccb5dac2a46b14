"""Two steerings at once: a format instruction and conciseness; the paper's section 6."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from trimtab import instructions as catalogue
from trimtab.measure.statistics import mean
from trimtab.prompts.pairs import make_pairs
from trimtab.reproduce import formats, paper
from trimtab.reproduce.charts import Chart
from trimtab.reproduce.lengths import CONCISE, length_vectors, within_by_punkt
from trimtab.reproduce.material import group_of
from trimtab.reproduce.paper import Addition
from trimtab.reproduce.protocol import Setup, followed, share
from trimtab.reproduce.results import Table, bars

if TYPE_CHECKING:
    from trimtab.steering.steering import Steering

WAYS = ("no steering", "format", "length", "format + length")
COLUMNS = ("format followed", "within the limit", "both")


def run(setup: Setup) -> tuple[list[Table], list[Chart]]:
    """The experiment: every format prompt with a limit of 1 to 5 sentences, drawn at random."""
    chosen = formats.learn_all(setup)
    concise = length_vectors(setup, CONCISE)
    block = setup.settings.block_for_length(setup.engine.identity.blocks)
    length = setup.added(concise, Addition(block, setup.settings.length_weight))
    rng = random.Random(paper.COMPOSITION_SEED)
    items = list(setup.material.format)
    numbers = [rng.randint(1, paper.MOST_SENTENCES) for _ in items]
    limits = [catalogue.get("sentences", at_most=number) for number in numbers]
    only_limit = [replace(item, instructions=(limit,)) for item, limit in zip(items, limits, strict=True)]
    spoken = [
        f"{item.instructed} {make_pairs([item.asked], limit, 'test', seed=number)[0].phrasing}"
        for number, (item, limit) in enumerate(zip(items, limits, strict=True))
    ]
    tables, charts = [], []
    measured = {}
    for told in (False, True):
        format_steerings = [chosen[group_of(item.instructions[0])].steering[told] for item in items]
        rows = []
        for way in WAYS:
            setup.step(f"{'with' if told else 'without'} text: {way}")
            applied: list[Steering | None] = [None] * len(items)
            if "format" in way:
                applied = list(format_steerings)
            if "length" in way:
                applied = [_together(one, length) for one in applied]
            answers = setup.answer(items, applied, spoken=spoken if told else False)
            formatted = followed(items, answers)
            within = followed(only_limit, answers, strict=True)
            both = [a and b for a, b in zip(formatted, within, strict=True)]
            short = within_by_punkt(answers, numbers)
            found = (formatted, short, [a and b for a, b in zip(formatted, short, strict=True)])
            for column, verdicts in zip(COLUMNS, found, strict=True):
                row = f"{way}, {'with' if told else 'without'} text"
                measured[row, column] = (share(verdicts), len(items))
            words = mean(len(one.text.split()) for one in answers)
            rows.append((way, share(formatted), share(within), share(both), words))
        text = "with both text instructions" if told else "without text instructions"
        table = Table(
            f"Format and length together, {text}",
            ("steering", *COLUMNS, "words, mean"),
            tuple(rows),
            note=f"{len(items)} prompts; a limit of 1 to {paper.MOST_SENTENCES} sentences; concise vector at block "
            f"{block}, weight {setup.settings.length_weight:g}.",
            form="the accuracies of multi-instruction steering",
        )
        tables.append(table)
        charts.append(
            bars("told" if told else "untold", table.title, "share of answers", table, list(COLUMNS))
        )
    return [*tables, *setup.beside("composition", measured)], charts


def _together(first: Steering | None, second: Steering | None) -> Steering | None:
    if first is None or second is None:
        return first or second
    return first + second
