"""Putting an experiment together from a model's name, and running it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

from trimtab import nano
from trimtab.engines import Model, as_engine
from trimtab.errors import TrimtabError
from trimtab.progress import Progress, shown
from trimtab.reproduce import compositions, formats, keywords, lengths, material, paper, published, transfers
from trimtab.reproduce.charts import Chart
from trimtab.reproduce.paper import PaperModel
from trimtab.reproduce.protocol import Setup, question_answer, repeats, unsurprising
from trimtab.reproduce.results import Reproduction, Table
from trimtab.tune.paper import PERPLEXITY_MODEL

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

    Returns:
        The folder; for a built-in model, which needs no files, whatever was given, or the current one.

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
    model: Model,
    *,
    data: Path | None = None,
    source: Model | None = None,
    limit: int | None = None,
    perplexity_model: str = PERPLEXITY_MODEL,
    device: str | None = None,
    beside: str | None = None,
    **changes: Any,
) -> Setup:
    """An experiment's setup.

    Args:
        settings: The paper's settings for the model (`paper.MODELS`).
        model: An engine, or a model of transformers and its tokenizer; for the transfer experiment the base model.
        data: The folder with the paper's prompt files; not needed for the built-in model.
        source: The instruction-tuned model of the transfer experiment.
        limit: At most so many test prompts of a kind; None for all.
        perplexity_model: Judges which answers are degenerate, for models that are not built in.
        device: Where to put it.
        beside: The model of the paper whose published figures are shown beside what is measured, by its name in
            `paper.MODELS`; None takes those of the model itself, where it is one of the paper's.
        **changes: Fields of `Setup` to set otherwise; None keeps the default.

    Raises:
        TrimtabError: The folder is missing or lacks a file.
    """
    engine, source = as_engine(model), None if source is None else as_engine(source)
    kept = {name: value for name, value in changes.items() if value is not None}
    kept["published"] = (
        published.of_name(beside)
        if beside
        else published.of_model(engine.identity.id, base=source is not None)
    )
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


def run(experiment: Experiment, setup: Setup, *, progress: Progress = False) -> Reproduction:
    """Run an experiment.

    Args:
        experiment: Which one.
        setup: From `prepare`.
        progress: See `trimtab.progress.Progress`.

    Raises:
        TrimtabError: There is no such experiment, or the model lacks what it needs.
    """
    if experiment not in _RUN:
        raise TrimtabError(f"there is no experiment {experiment!r}; there are {', '.join(EXPERIMENTS)}")
    start = time.perf_counter()
    with shown(progress) as tell:
        tables, charts = _RUN[experiment](replace(setup, tell=tell))
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
