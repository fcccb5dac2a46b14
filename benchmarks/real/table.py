"""`python -m benchmarks.real.table RESULT.json...`: the tables of measurements as Markdown, and into pages by `--into`.

A page has the place of a table between two comments, `<!-- real smollm2 -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.pages import heading, into, line
from benchmarks.running import run
from trimtab.errors import TrimtabError
from trimtab.files import read_text, write_text

CONDITIONS = {
    "baseline": "plain",
    "instructed": "told",
    "steered": "**steered**",
    "instructed+steered": "told + steered",
    "constrained": "constrained",
    "steered+constrained": "steered + constrained",
}
QUALITY = ("tokens", "repetition", "perplexity", "scorer_perplexity", "relevance", "facts")
HEADINGS = {
    "tokens": "length",
    "repetition": "repetition",
    "perplexity": "own perpl.",
    "scorer_perplexity": "perpl.",
    "relevance": "relevance",
    "facts": "facts",
}


def markdown(result: Mapping[str, Any]) -> str:
    """The table of a measurement with what it says below, as Markdown.

    Args:
        result: The document that `benchmarks.real` wrote.
    """
    summary = result["summary"]
    conditions = [name for name in CONDITIONS if name in summary["conditions"]]
    overall = summary["conditions"].get("steered", {})
    measures = [name for name in QUALITY if overall.get(name) is not None]
    head = [
        "instruction",
        "teacher",
        *(CONDITIONS[name] for name in conditions),
        *(HEADINGS[name] for name in measures),
        "min.",
    ]
    lines = heading(head, 2)
    for one in result["instructions"]:
        steered = one["conditions"].get("steered", {"against_plain": {}})["against_plain"]
        shares = [_share(one["conditions"].get(name)) for name in conditions]
        cells = [f"`{one['instruction']}`", one["teacher"] or "-", *shares]
        cells += [_quality(name, steered.get(name)) for name in measures]
        lines.append(line([*cells, _minutes(one["seconds"])]))
    for which in ("mean", "worst"):
        cells = [which, "", *(f"{summary['conditions'][name]['followed'][which]:.2f}" for name in conditions)]
        cells += [_quality(name, overall[name][which]) for name in measures]
        lines.append(line([*cells, _minutes(summary["seconds"][which])]))
    return "\n".join([*lines, "", _caption(result, measures)])


def _share(condition: Mapping[str, Any] | None) -> str:
    return "-" if condition is None else f"{condition['followed']:.2f}"


def _quality(measure: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:+.2f}" if measure in ("repetition", "facts") else f"x {value:.2f}"


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 60:.1f}"


def _caption(result: Mapping[str, Any], measures: Sequence[str]) -> str:
    settings, summary = result["settings"], result["summary"]
    said = ["A trial with a part of everything, not a measurement."] if settings["trial"] else []
    said.append(
        f"{result['model']}: share of {settings['queries']} test questions whose answer (greedy, at most "
        f"{settings['tokens']} tokens) passes the strict check, with test phrasings where it is told."
    )
    compared = {
        "tokens": "mean length in tokens, in the last two rows without what is about length",
        "repetition": "share of repeated word 4-grams",
        "perplexity": "perplexity under the unsteered model given the bare question",
    }
    quality = [f"{text} (`{HEADINGS[name]}`)" for name, text in compared.items() if name in measures]
    if "relevance" in measures:
        quality.append(
            f"perplexity (`perpl.`) and relevance under {settings['scorer']}, {result['scored']} answers each"
        )
    if "facts" in measures:
        quality.append(f"share of {settings['facts']} closed-book questions answered rightly (`facts`)")
    if quality:
        said.append(f"Right of that, *steered* against plain: {'; '.join(quality)}.")
    chosen = "" if "--teacher" in settings["learn"] else ", as `trimtab learn` chose"
    said.append(f"`teacher`: where its lessons came from{chosen}.")
    said.append("`min.`: minutes that `trimtab learn` took, all of it." + _options(settings["learn"]))
    said += [
        f"`{one['instruction']}` could not be learned, and is in no mean of steered ones: {one['refused']}."
        for one in result["instructions"]
        if one["refused"]
    ]
    taken = {
        name: row["taken"] for name, row in summary["conditions"].items() if row.get("taken") is not None
    }
    if "constrained" in taken and "steered+constrained" in taken:
        said.append(
            f"A constraint takes away {taken['constrained']['mean']:.3f} of the probability of a token, the mean over "
            f"all; {taken['steered+constrained']['mean']:.3f} where the model is steered."
        )
    if pairs := summary.get("pairs"):
        said.append(
            f"Pairs: steered by the union of two steerings, untold, the model follows both instructions in "
            f"{pairs['followed']['mean']:.2f} of its answers, the mean of {pairs['count']} compatible pairs; worst "
            f"{pairs['followed']['worst']:.2f}."
        )
        if "composed" in pairs:
            said.append(_composed(settings, pairs["composed"]))
    return "\n".join(said)


def _composed(settings: Mapping[str, Any], found: Mapping[str, float]) -> str:
    options = " ".join(settings["compose"])
    how = f" (`{options}`)" if options else ""
    return f"Put together by `trimtab compose`{how}: {found['mean']:.2f}, worst {found['worst']:.2f}."


def _options(options: Sequence[str]) -> str:
    return f" It was given `{' '.join(options)}`." if options else ""


def pairs_table(result: Mapping[str, Any]) -> str:
    """How often both instructions of each pair are followed, as Markdown."""
    columns = {"followed": "both followed"}
    if any(pair.get("composed") is not None for pair in result["pairs"]):
        columns = {"followed": "by the union", "composed": "by `trimtab compose`"}
    lines = heading(["pair", *columns.values()], 1)
    for pair in result["pairs"]:
        labels = ", ".join(f"`{label}`" for label in pair["instructions"])
        shares = ["-" if pair[name] is None else f"{pair[name]:.2f}" for name in columns]
        lines.append(line([labels, *shares]))
    return "\n".join(lines)


def command(
    results: Annotated[list[Path], typer.Argument(help="What benchmarks.real wrote, of one model each.")],
    page: Annotated[
        list[Path] | None, typer.Option("--into", help="A page whose places for these models are filled.")
    ] = None,
) -> None:
    """Print the tables of measurements, or put them into pages."""
    read = [json.loads(read_text(path)) for path in results]
    if not page:
        for result in read:
            print(markdown(result), end="\n\n")
            if result["pairs"]:
                print(pairs_table(result), end="\n\n")
    for path in page or ():
        text = read_text(path)
        found = 0
        for result in read:
            tables = {result["model"]: markdown(result), f"{result['model']} pairs": pairs_table(result)}
            for marker, table in tables.items():
                if f"<!-- real {marker} -->" in text:
                    text = into(text, f"real {marker}", table)
                    found += 1
        if not found:
            raise TrimtabError(
                f"{path} has no place for a table of these models: <!-- real {read[0]['model']} -->"
            )
        write_text(path, text)


if __name__ == "__main__":
    sys.exit(run(command, "python -m benchmarks.real.table"))
