"""Words to include and to exclude: section 5. A word is excluded by the vector of including it, turned round."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trimtab import instructions as catalogue
from trimtab.measure.quality import perplexity_of
from trimtab.measure.rows import CONDITIONS
from trimtab.prompts.pairs import make_pairs
from trimtab.reproduce import paper
from trimtab.reproduce.charts import Chart
from trimtab.reproduce.material import KEYWORDS, Keyword, word_of
from trimtab.reproduce.paper import Addition
from trimtab.reproduce.protocol import NONE, Setup, followed, share
from trimtab.reproduce.results import Table, bars

if TYPE_CHECKING:
    from trimtab.evaluate.suites import Item
    from trimtab.learn import Directions
    from trimtab.steering.steering import Steering


def word_vectors(setup: Setup, items: Sequence[Item]) -> dict[str, Directions]:
    """The vectors of saying each word that the prompts are about."""
    found: dict[str, Directions] = {}
    words = list(dict.fromkeys(map(word_of, items)))
    setup.step(f"learning {len(words)} words")
    for word in words:
        instruction = catalogue.get("include", word=word)
        pairs = make_pairs(setup.material.learning[: paper.KEYWORD_PAIRS], instruction, "learning")
        found[word] = setup.vectors(pairs, instruction)
    return found


def additions(setup: Setup, kind: Keyword) -> tuple[Addition | None, Table | None]:
    """Where and how strongly to add the vectors, as the code says or else validation prompts, and that search.

    The choice is None where no steering was best.
    """
    stated = setup.settings.include if kind == "include" else setup.settings.exclude
    if stated is not None and stated.block < setup.engine.identity.blocks:
        return stated, None
    items = setup.material.keywords_validation[kind][: setup.validation]
    vectors = word_vectors(setup, items)
    setup.step(f"{kind}: choosing block and weight")
    weights = dict(setup.settings.keyword_weights)[kind]
    grid = {
        f"block {block}, weight {weight:g}": Addition(block, weight)
        for block in setup.blocks
        for weight in weights
    }
    candidates: dict[str, Sequence[Steering | None] | None] = {NONE: None}
    for name, addition in grid.items():
        candidates[name] = [setup.added(vectors[word_of(item)], addition) for item in items]
    best, shares = setup.choose(items, candidates, spoken=False, strict=True)
    table = Table(
        f"Search for block and weight: {kind}",
        ("candidate", "followed"),
        tuple(shares.items()),
        note=f"{len(items)} validation prompts; 0 where an answer was degenerate. Chosen: {best}.",
    )
    return (None if best == NONE else grid[best]), table


def run(setup: Setup) -> tuple[list[Table], list[Chart]]:
    """The experiment: shares followed of both kinds under the four conditions, and the searches."""
    rows, searches, notes = [], [], []
    measured: dict[tuple[str, str], tuple[float, int]] = {}
    for kind in KEYWORDS:
        addition, search = additions(setup, kind)
        searches += [search] if search else []
        items = list(setup.material.keywords[kind])
        vectors = word_vectors(setup, items)
        where = "no steering" if addition is None else f"block {addition.block}, weight {addition.weight:g}"
        notes.append(f"{kind}: {where}, {len(items)} prompts")
        setup.step(f"{kind}: answering the test prompts")
        steered = [
            None if addition is None else setup.added(vectors[word_of(item)], addition) for item in items
        ]
        answers = setup.in_conditions(items, {False: steered, True: steered}, paper.LENGTH_TOKENS)
        shares = {name: share(followed(items, answers[name], strict=True)) for name in CONDITIONS}
        measured |= {(kind, str(name)): (value, len(items)) for name, value in shares.items()}
        rows.append(
            (
                kind,
                *shares.values(),
                perplexity_of([one.nll for one in answers["steered"]]),
            )
        )
    table = Table(
        "Share of answers that follow the instruction (strict)",
        ("kind", *CONDITIONS, "perplexity, steered"),
        tuple(rows),
        note="; ".join(notes) + ".",
        form="the bars of word inclusion and exclusion, without and with text instructions",
    )
    label = "share of answers that follow the instruction (strict)"
    tables = [table, *searches, *setup.beside("keywords", measured)]
    return tables, [bars("overall", "Words", label, table, list(CONDITIONS))]
