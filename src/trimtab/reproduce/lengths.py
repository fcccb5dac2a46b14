"""Length: how the conciseness vector's weight shortens answers, and whether it helps to keep a limit; section 4."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

from trimtab import instructions as catalogue
from trimtab.evaluate.suites import Item
from trimtab.instructions import sentences as reading
from trimtab.instructions.splitting import count_sentences
from trimtab.measure.statistics import mean
from trimtab.prompts.pairs import make_pairs
from trimtab.reproduce import paper
from trimtab.reproduce.charts import Chart
from trimtab.reproduce.paper import Addition
from trimtab.reproduce.protocol import Setup, followed, share
from trimtab.reproduce.results import Cell, Table, bars

if TYPE_CHECKING:
    from trimtab.learn import Directions
    from trimtab.measure.responses import Response

CONCISE, VERBOSE = "concise", "verbose"


def length_vectors(setup: Setup, name: str) -> Directions:
    """The vectors of conciseness or verbosity."""
    setup.step(f"{name}: learning")
    instruction = catalogue.get(name)
    pairs = make_pairs(setup.material.learning[: paper.LENGTH_PAIRS], instruction, "learning")
    return setup.vectors(pairs, instruction)


def limited(queries: Sequence[str], most: int) -> list[Item]:
    """The queries, each with "at most so many sentences" in a test phrasing."""
    instruction = catalogue.get("sentences", at_most=most)
    return [
        Item(f"{number}", pair.plain, pair.instructed, (instruction,))
        for number, pair in enumerate(make_pairs(queries, instruction, "test"))
    ]


def within_by_punkt(responses: Sequence[Response], limits: Sequence[int]) -> list[bool]:
    """Whether each answer keeps its limit as the paper's scripts count, by Punkt; one without sentences does."""
    return [
        count_sentences(response.text) <= limit for response, limit in zip(responses, limits, strict=True)
    ]


def run(setup: Setup) -> tuple[list[Table], list[Chart]]:
    """The experiment: lengths by weight without a text instruction, and shares within the limit with one."""
    block = setup.settings.block_for_length(setup.engine.identity.blocks)
    queries = list(setup.material.length)
    bare = [Item(f"{number}", query, query, ()) for number, query in enumerate(queries)]
    tables, charts = [], []
    most = paper.LENGTH_TOKENS
    vectors = {name: length_vectors(setup, name) for name in (CONCISE, VERBOSE)}
    for name, directions in vectors.items():
        setup.step(f"{name}: answering at {len(setup.settings.length_weights)} weights")
        answers = {
            weight: setup.answer(
                bare, setup.added(directions, Addition(block, weight)), spoken=False, most=most
            )
            for weight in setup.settings.length_weights
        }
        tables.append(
            Table(
                f"Length by weight of the {name} vector, without a text instruction",
                ("weight", "words, mean", "words, median", "sentences, mean", "repetition"),
                tuple(_lengths(weight, part) for weight, part in answers.items()),
                note=f"{len(queries)} queries; block {block}; weight {_unit(setup)}.",
                form="the distributions of lengths by steering weight",
            )
        )
        charts.append(
            Chart(
                name,
                f"Words by weight of the {name} vector",
                "boxes",
                {
                    f"{weight:g}": tuple(float(len(one.text.split())) for one in part)
                    for weight, part in answers.items()
                },
                "words in an answer",
            )
        )
    steering = setup.added(vectors[CONCISE], Addition(block, setup.settings.length_weight))
    rows = []
    measured = {}
    for limit in range(1, paper.MOST_SENTENCES + 1):
        setup.step(f"at most {limit} sentences")
        items = limited(queries, limit)
        plain = setup.answer(items, None, spoken=True, most=most)
        steered = setup.answer(items, steering, spoken=True, most=most)
        name = f"at most {limit}"
        for condition, part in (("instructed", plain), ("instructed+steered", steered)):
            measured[name, condition] = (share(within_by_punkt(part, [limit] * len(part))), len(part))
        rows.append(
            (
                name,
                share(followed(items, plain, strict=True)),
                share(followed(items, steered, strict=True)),
                mean(reading.count(one.text) for one in plain),
                mean(reading.count(one.text) for one in steered),
            )
        )
    within = Table(
        "Share of answers within the limit, with the text instruction",
        (
            "limit",
            "instructed",
            "instructed+steered",
            "sentences, instructed",
            "sentences, instructed+steered",
        ),
        tuple(rows),
        note=f"{len(queries)} queries each; concise vector at block {block}, weight {setup.settings.length_weight:g} "
        f"({_unit(setup)}).",
        form="the bars of accuracy by length constraint",
    )
    charts.append(
        bars("limits", "Within the limit", "share of answers", within, ["instructed", "instructed+steered"])
    )
    return [*tables, within, *setup.beside("length", measured)], charts


def _unit(setup: Setup) -> str:
    return (
        "1 is the instruction's own effect" if setup.settings.multiples else "in units of the residual stream"
    )


def _lengths(weight: float, responses: Sequence[Response]) -> tuple[Cell, ...]:
    words = [len(one.text.split()) for one in responses]
    return (
        f"{weight:g}",
        mean(words),
        float(median(words)),
        mean(reading.count(one.text) for one in responses),
        mean(one.repetition for one in responses),
    )
