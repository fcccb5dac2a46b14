"""`python -m benchmarks.tones.table RESULT.json`: the tables of tones as Markdown, and into a page by `--into`.

A page has their place between two comments, `<!-- tones smollm2 -->` and `<!-- end -->`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.pages import heading, into, line
from benchmarks.running import run
from trimtab.files import read_text, write_text
from trimtab.measure.statistics import wilson

CONDITIONS = {
    "baseline": "plain",
    "instructed": "told",
    "steered": "steered",
    "instructed+steered": "told and steered",
}


def markdown(result: Mapping[str, Any]) -> str:
    """All tables of a measurement, with what they say.

    Args:
        result: The document that `benchmarks.tones` writes.
    """
    parts = [tones_table(result), _caption(result)]
    if result["composed"]:
        parts.append(composed_table(result))
    return "\n\n".join(parts)


def tones_table(result: Mapping[str, Any]) -> str:
    """How many answers are judged to be in the tone, by condition and method, and their quality."""
    head = ["tone", "", "learned by", "judged to be in it", "repetition", "own perplexity", "tokens", "min."]
    lines = heading(head, 3)
    for one in result["tones"]:
        for row in one["rows"]:
            minutes = "-" if row["seconds"] is None else f"{row['seconds'] / 60:.1f}"
            what = [f"`{one['tone']}`", CONDITIONS[row["condition"]], row["method"] or "-"]
            lines.append(line([*what, _of(row["followed"][0], row), *_quality(row), minutes]))
    return "\n".join(lines)


def composed_table(result: Mapping[str, Any]) -> str:
    """How many answers follow a tone, another instruction, and both."""
    head = ["", "", "tone (judged)", "the other (checked)", "both", "repetition", "own perplexity", "tokens"]
    lines = heading(head, 2)
    for one in result["composed"]:
        for row in one["rows"]:
            counts = [_of(count, row) for count in (*row["followed"], row["all"])]
            what = [f"`{one['tone']}` and `{one['other']}`", CONDITIONS[row["condition"]]]
            lines.append(line([*what, *counts, *_quality(row)]))
    return "\n".join(lines)


def _caption(result: Mapping[str, Any]) -> str:
    settings = result["settings"]
    n = settings["queries"]
    bounds = wilson(n // 2, n)
    said = ["A trial with a part of everything, not a measurement."] if settings["trial"] else []
    said.append(
        f"{settings['model']}, judged by {settings['judge']}: {n} test questions, answers of at most "
        f"{settings['tokens']} tokens, greedy. "
        f"The 95 % interval of {n // 2} of {n} is {bounds.low:.2f} to {bounds.high:.2f}."
    )
    for method, options in settings["methods"].items():
        said.append(f"{method}: `trimtab learn {' '.join(options)}`.")
    agreed = [
        f"`{one['tone']}` {one['agreement']['agreed']} of {one['agreement']['n']}"
        for one in result["tones"]
        if one["agreement"]
    ]
    if agreed:
        said.append(f"The judge agrees with a person on labelled answers: {', '.join(agreed)}.")
    said += [
        f"`{one['tone']}` could not be learned by {method}: {why}."
        for one in result["tones"]
        for method, why in one["refused"].items()
    ]
    if result["composed"]:
        said.append(
            f"Composed: the union of the tone's steering (by {result['composed'][0]['method']}) and the other's "
            f"(`trimtab learn {' '.join(settings['checked'])}`)."
        )
    return "\n".join(said)


def _of(count: int, row: Mapping[str, Any]) -> str:
    return f"{count} of {row['n']}"


def _quality(row: Mapping[str, Any]) -> list[str]:
    perplexity = "-" if row["perplexity"] is None else f"{row['perplexity']:.2f}"
    return [f"{row['repetition']:.2f}", perplexity, f"{row['tokens']:.0f}"]


def command(
    result: Annotated[Path, typer.Argument(help="What benchmarks.tones wrote.")],
    page: Annotated[Path | None, typer.Option("--into", help="A page whose place is filled.")] = None,
) -> None:
    """Print the tables of tones, or put them into a page."""
    document = json.loads(read_text(result))
    text = markdown(document)
    if page is None:
        print(text)
    else:
        write_text(page, into(read_text(page), f"tones {document['settings']['model']}", text))


if __name__ == "__main__":
    sys.exit(run(command, "python -m benchmarks.tones.table"))
