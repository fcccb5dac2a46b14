"""What the authors' own outputs give, to stand beside what is measured here.

Their repository, microsoft/llm-steer-instruct, kept the answers of its experiments in its history. The package has the
counts of those that follow (`data/paper/figures.json`); `python -m benchmarks.published` counts them again.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from trimtab import instructions
from trimtab.errors import TrimtabError
from trimtab.measure.rows import CONDITIONS
from trimtab.reproduce.paper import MODELS
from trimtab.reproduce.results import Cell, Reproduction, Table

Measured = Mapping[tuple[str, str], tuple[float, int]]
"""By row and column of the published figures: the share measured here, and of how many answers."""

_CAVEATS = {
    "format": "The prompts and the checks are the same; the vectors come from other phrasings and queries, and blocks "
    "were chosen on other prompts.",
    "keywords": "The prompts and the check are the same; the vectors come from other phrasings.",
    "length": "Sentences are counted by Punkt for both, an answer without any being within every limit; theirs are 200 "
    "queries in one phrasing, with a vector of other prompt pairs.",
    "composition": "Sentences are counted by Punkt for both; the limits are drawn alike, the phrasings and vectors are "
    "not the same.",
    "transfer": "The prompts, their form and the check are the same; the vectors come from other phrasings and "
    "queries, and blocks were chosen on other prompts.",
}


@dataclass(frozen=True)
class Published:
    """The figures of one model of the paper.

    Attributes:
        key: Its name in `paper.MODELS`.
        model: Its full name.
        source: Where the figures come from, as it has to be said beside them.
        experiments: By experiment, row and column: how many answers follow, and of how many.
    """

    key: str
    model: str
    source: str
    experiments: Mapping[str, Mapping[str, Mapping[str, tuple[int, int]]]]

    def beside(self, experiment: str, measured: Measured | None = None) -> Table | None:
        """The figures of an experiment as a table, beside what was measured; None where its authors kept no outputs.

        Args:
            experiment: Its name.
            measured: What was measured here; None leaves its columns out.
        """
        figures = self.experiments.get(experiment)
        if figures is None:
            return None
        rows: list[tuple[Cell, ...]] = []
        for row, columns in figures.items():
            for column, (followed, n) in columns.items():
                theirs = (followed / n, n)
                ours = () if measured is None else measured.get((row, column), (None, None))
                rows.append((f"{row}: {column}", *ours, *theirs))
        here = () if measured is None else ("measured", "of")
        model = f"the base of {self.model}" if experiment == "transfer" else self.model
        return Table(
            f"{'Published' if measured is None else 'Beside the published outputs'}: {experiment}, {model}",
            ("answers", *here, "recomputed", "of answers"),
            tuple(rows),
            note=f"{model}: {self.source}. {_CAVEATS[experiment]}",
        )

    def by_instruction(self) -> Table:
        """The figures of the format experiment by instruction, by the loose check."""
        return Table(
            f"Published: by instruction (loose), {self.model}",
            ("instruction", "n", *CONDITIONS),
            tuple(
                (_name(id_), columns[CONDITIONS[0]][1], *(_share(columns[one]) for one in CONDITIONS))
                for id_, columns in self.experiments["format by instruction"].items()
            ),
            note=f"{self.model}: {self.source}. All languages together.",
        )

    def tables(self, experiment: str) -> list[Table]:
        """All there is of an experiment, with nothing beside it.

        Raises:
            TrimtabError: The authors kept no outputs of it.
        """
        table = self.beside(experiment)
        if table is None:
            there = ", ".join(one for one in self.experiments if one in _CAVEATS)
            raise TrimtabError(
                f"no outputs of the experiment {experiment} were published for {self.model}; there are: {there}"
            )
        return [table, self.by_instruction()] if experiment == "format" else [table]


def of_name(key: str) -> Published | None:
    """The figures of a model of `paper.MODELS`; None for one that is not the paper's."""
    document = _document()
    found = document["models"].get(key)
    if found is None:
        return None
    experiments = {
        experiment: {
            row: {column: (followed, counts["n"]) for column, followed in counts["followed"].items()}
            for row, counts in rows.items()
        }
        for experiment, rows in found.items()
        if experiment != "name"
    }
    return Published(key, found["name"], document["source"], experiments)


def of_model(id_: str, *, base: bool = False) -> Published | None:
    """The figures of a model of the paper by its name on the Hub, or by that of its base; None for any other."""
    for known in MODELS.values():
        if id_ == (known.base if base else known.hub):
            return of_name(known.name)
    return None


def alone(key: str, experiment: str) -> Reproduction:
    """The figures of an experiment with nothing beside them, for who runs nothing.

    Raises:
        TrimtabError: The authors published no outputs of the model, or none of the experiment.
    """
    found = of_name(key)
    if found is None:
        raise TrimtabError(
            f"no outputs of {key} were published; there are some of {', '.join(_document()['models'])}"
        )
    settings = {"settings of": key, "figures": found.source}
    return Reproduction(experiment, found.model, settings, tuple(found.tables(experiment)))


@functools.cache
def _document() -> Any:
    file = resources.files("trimtab") / "data" / "paper" / "figures.json"
    return json.loads(file.read_text(encoding="utf-8"))


def _share(figure: tuple[int, int]) -> float:
    return figure[0] / figure[1]


def _name(id_: str) -> str:
    return instructions.get_type(id_).name
