"""Putting an experiment together from a model's name, and running it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from trimtab import nano
from trimtab.errors import TrimtabError
from trimtab.reproduce import (
    compositions,
    formats,
    keywords,
    lengths,
    material,
    paper,
    transfers,
)
from trimtab.reproduce.paper import PaperModel
from trimtab.reproduce.protocol import (
    Setup,
    question_answer,
    repeats,
    unsurprising,
)
from trimtab.reproduce.results import Chart, Reproduction, Table
from trimtab.tune.paper import PERPLEXITY_MODEL

if TYPE_CHECKING:
    from trimtab.engines.base import Engine

Experiment = Literal["format", "length", "keywords", "composition", "transfer"]
EXPERIMENTS: tuple[Experiment, ...] = get_args(Experiment)

_RUN: dict[Experiment, Callable[[Setup], tuple[list[Table], list[Chart]]]] = {
    "format": formats.run,
    "length": lengths.run,
    "keywords": keywords.run,
    "composition": compositions.run,
    "transfer": transfers.run,
}

_NANO: dict[str, Any] = {"pairs": 64, "validation": 6, "max_new_tokens": 128}
"""How much of everything the built-in model gets: minutes on two cores."""


def check_data(model: str, data: Path | None) -> Path:
    """Refuse a model that needs the paper's prompt files and has not got them; before it is loaded.

    Args:
        model: Its name or folder; a built-in one needs no files.
        data: The folder of the files.

    Returns:
        The folder; for a built-in model whatever was given, or the current one.

    Raises:
        TrimtabError: The folder is missing or lacks a file.
    """
    if nano.is_built_in(model):
        return data or Path()
    if data is None:
        raise TrimtabError(
            "the paper's experiments need its prompt files: give their folder with --data (see docs/reproduce.md), "
            "or take the model nano, which has questions of its own"
        )
    material.check_folder(data)
    return data


def prepare(
    settings: PaperModel,
    engine: Engine,
    *,
    data: Path | None = None,
    source: Engine | None = None,
    limit: int | None = None,
    perplexity_model: str = PERPLEXITY_MODEL,
    device: str | None = None,
    **changes: Any,
) -> Setup:
    """An experiment's setup.

    Args:
        settings: The paper's settings for the model (`paper.MODELS`).
        engine: The model; for the transfer experiment the base model.
        data: The folder with the paper's prompt files; not needed for the built-in model.
        source: The instruction-tuned model of the transfer experiment.
        limit: At most so many test prompts of a kind; None for all.
        perplexity_model: Judges which answers are degenerate, for models that are not built in.
        device: Where to put it.
        **changes: Fields of `Setup` to set otherwise; None keeps the default.

    Returns:
        The setup.

    Raises:
        TrimtabError: The folder is missing or lacks a file.
    """
    kept = {name: value for name, value in changes.items() if value is not None}
    if nano.is_built_in(engine.identity.id):
        values = {**_NANO, "facts": nano.facts, **kept}
        asked = material.of_nano(validation=values["validation"], limit=limit)
        return Setup(engine, settings, asked, repeats, source=source, **values)
    folder = check_data(engine.identity.id, data)
    values = {"validation": paper.FORMAT_VALIDATION, **kept}
    asked = material.from_folder(folder, validation=values["validation"], limit=limit)
    if source is not None:
        engine = question_answer(engine)
    return Setup(
        engine, settings, asked, unsurprising(perplexity_model, device=device), source=source, **values
    )


def run(experiment: Experiment, setup: Setup) -> Reproduction:
    """Run an experiment.

    Args:
        experiment: Which one.
        setup: From `prepare`.

    Returns:
        Its tables and charts.

    Raises:
        TrimtabError: There is no such experiment, or the model lacks what it needs.
    """
    if experiment not in _RUN:
        raise TrimtabError(f"there is no experiment {experiment!r}; there are {', '.join(EXPERIMENTS)}")
    start = time.perf_counter()
    tables, charts = _RUN[experiment](setup)
    settings = {
        "settings of": setup.settings.name,
        "prompts": setup.material.name,
        "blocks searched": ", ".join(map(str, setup.blocks)),
        "validation prompts per choice": setup.validation,
        "longest answer, in tokens": setup.max_new_tokens,
    }
    if setup.source is not None:
        settings["source"] = str(setup.source.identity)
    return Reproduction(
        experiment,
        str(setup.engine.identity),
        settings,
        tuple(tables),
        tuple(charts),
        time.perf_counter() - start,
    )
