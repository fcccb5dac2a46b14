"""What was measured as tables for the terminal: of instructions, and of whole suites. They fit 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from trimtab.measure.quality import Quality
from trimtab.measure.rows import CONDITIONS, CONSTRAINED, Condition, Row, facts_judged
from trimtab.measure.statistics import Interval, mean
from trimtab.report.page import mean_followed, method_in_words, worse_than_baseline
from trimtab.report.pages import format_perplexity, p_value
from trimtab.report.plots import by_instruction
from trimtab.report.quality import quality_view
from trimtab.report.suite import remarks_on, undecided_remark

if TYPE_CHECKING:
    from trimtab.evaluate.accuracy import Accuracy
    from trimtab.evaluate.results import Evaluation
    from trimtab.measure.facts import Facts

STYLES: dict[Condition, str] = {
    "baseline": "dim",
    "instructed": "blue",
    "steered": "bold dark_orange",
    "instructed+steered": "magenta",
    "constrained": "cyan",
    "steered+constrained": "bold cyan",
}
_WORSE = "▼ steering does worse here than the same prompt without it."


def table_of(
    rows: Sequence[Row], beside: Sequence[Row] = (), *, p_values: Mapping[str, float] | None = None
) -> Table:
    """The share followed by instruction and condition, marked where steering is worse than the same prompt without it.

    Args:
        rows: The conditions of one or more instructions, those of one instruction side by side.
        beside: Steered rows of another method; they get a column after `steered`.
        p_values: Of each instruction's steered condition against the baseline, by label: they and the number of
            answers are then shown. None shows the quality of the steered answers and the means instead.
    """
    worse = worse_than_baseline(rows)
    others = {row.label: row for row in beside}
    present = [condition for condition in CONDITIONS if any(row.condition == condition for row in rows)]
    # Two columns of quality fit beside four of shares: the exact one where there is one.
    judged = facts_judged(rows)
    table = _table("instruction")
    if p_values is not None:
        table.add_column("n", justify="right", style="dim")
    for condition in present:
        table.add_column(condition.replace("+", "\n+"), justify="right", style=STYLES[condition])
        if others and condition == "steered":
            named = method_in_words(beside).replace("difference", "diff.").replace(" ", "\n")
            table.add_column(named, justify="right", style="yellow")
    # With one more column there is no room to say of which condition quality is: the caption does.
    of = "" if others else "steered\n"
    quality = [f"{of}perpl.", f"{of}{'facts' if judged else 'repeats'}"]
    for name in quality if p_values is None else ["p, adj."] if p_values else []:
        table.add_column(name, justify="right", style="dim")
    for label, found in by_instruction(rows):
        cells = []
        for condition in present:
            share = _number(found[condition].followed if condition in found else None)
            cells.append(Text(f"▼{share}", "red") if (label, condition) in worse else Text(share))
            if others and condition == "steered":
                cells.append(Text(_number(others[label].followed if label in others else None)))
        if p_values is None:
            cells += [Text(cell) for cell in _two(found["steered"].quality, judged)]
        else:
            cells.insert(0, Text(str(max(row.n for row in found.values()))))
            if p_values:
                cells.append(Text(p_value(p_values[label]) if label in p_values else "-"))
        table.add_row(Text(label), *cells)
    if p_values is None:
        means = {condition: _number(value) for condition, value in mean_followed(rows).items()}
        shown = [means[condition] for condition in present]
        if others:
            shown.insert(present.index("steered") + 1, _number(mean(row.followed for row in beside)))
        table.add_section()
        table.add_row(Text("mean", "bold"), *shown)
    return table


def constrained_table(rows: Sequence[Row]) -> Table | None:
    """The share followed under a constraint, and how much probability it took away; None where none was measured.

    An instruction without a constraint shows dashes. The less is taken away, the less the answer was forced.
    """
    present = [condition for condition in CONSTRAINED if any(row.condition == condition for row in rows)]
    if not present:
        return None
    worse = worse_than_baseline(rows)
    table = _table("instruction")
    for condition in present:
        table.add_column(condition.replace("+", "\n+"), justify="right", style=STYLES[condition])
        table.add_column("taken\naway", justify="right", style="dim")
    for label, found in by_instruction(rows):
        cells = []
        for condition in present:
            row = found.get(condition)
            share = _number(None if row is None else row.followed)
            cells.append(Text(f"▼{share}", "red") if (label, condition) in worse else Text(share))
            cells.append(Text(_number(None if row is None else row.quality.taken)))
        table.add_row(Text(label), *cells)
    table.add_section()
    means = mean_followed(rows)
    cells = []
    for condition in present:
        cells.append(Text(_number(means.get(condition))))
        cells.append(Text(_number(mean(row.quality.taken for row in rows if row.condition == condition))))
    table.add_row(Text("mean", "bold"), *cells)
    return table


def quality_table(rows: Sequence[Row]) -> Table | None:
    """The quality of steered answers beside plain ones, marked where it is out of bounds; None without both."""
    view = quality_view(rows)
    if view is None:
        return None
    table = _table("steered: what it costs")
    for heading in view.headings:
        table.add_column(heading.replace(" ", "\n"), justify="right")
    for label, cells in (("plain", view.plain), *view.lines):
        style = "dim" if label == "plain" else ""
        table.add_row(
            Text(label, style),
            *(Text(f"▼{one.text}", "red") if one.out else Text(one.text, style) for one in cells),
        )
    return table


def quality_caption(rows: Sequence[Row]) -> str:
    """How to read the table of quality; empty where there is none."""
    view = quality_view(rows)
    if view is None:
        return ""
    text = "Beside plain answers"
    if "relevance" in view.measures:
        text += "; scorer perpl. and relevance (nats per token) are under another model"
    return f"{text}. ▼ out of bounds: {view.outside} of {len(view.lines)}."


def facts_table(facts: Mapping[str, Facts]) -> Table | None:
    """Closed-book questions answered rightly, plain and steered, by what the steering is for; None where none were."""
    if not facts:
        return None
    table = _table("closed-book facts")
    for name in ("n", "plain", "steered", "lost", "of those known"):
        table.add_column(name, justify="right")
    for label, found in facts.items():
        kept = "-" if found.kept is None else f"{1 - found.kept:.2f}"
        shares = (found.right_plain, found.right_steered, found.lost)
        table.add_row(Text(label), str(found.n), *map(_number, shares), kept)
    lost = mean(found.lost for found in facts.values())
    table.add_section()
    table.add_row(Text("mean", "bold"), "", "", "", _number(lost))
    return table


def caption_of(rows: Sequence[Row]) -> str:
    """What the numbers of the table are, and what to compare the quality columns with."""
    lines = [f"Share of answers that follow the instruction, {rows[0].n} test questions each."]
    judged = facts_judged(rows)
    qualities = (
        f"{name} {_described([r.quality for r in rows if r.condition == name], judged)}"
        for name in ("baseline", "instructed")
    )
    what = "facts" if judged else "repetition"
    lines.append(f"Perplexity and {what} are of steered; to compare with:\n{'; '.join(qualities)}.")
    return "\n".join([*lines, *undecided_remark(rows), *([_WORSE] if worse_than_baseline(rows) else [])])


def instruction_table(evaluation: Evaluation) -> Table:
    """The share followed by instruction and condition, and whether steering made a difference.

    Raises:
        TrimtabError: scipy is missing.
    """
    return table_of(
        evaluation.rows(),
        p_values={
            comparison.label: comparison.p_adjusted
            for comparison in evaluation.comparisons()
            if comparison.first == "baseline" and comparison.label is not None
        },
    )


def overall_table(evaluation: Evaluation) -> Table:
    """IFEval's accuracies with their intervals, and quality, by condition and strength.

    Raises:
        TrimtabError: scipy is missing.
    """
    accuracies = evaluation.accuracies()
    facts = any(accuracy.quality.facts is not None for accuracy in accuracies)
    judged = any(accuracy.judged is not None for accuracy in accuracies)
    taken = any(accuracy.quality.taken is not None for accuracy in accuracies)
    # With one instruction a prompt the two are the same.
    several = any(accuracy.instructions != accuracy.prompts for accuracy in accuracies)
    table = _table("condition")
    for name in ("prompts, strict", *(["instr., strict"] if several else []), "loose"):
        table.add_column(name, justify="right")
    more = [*(["judge"] if judged else []), *(["taken"] if taken else [])]
    for name in ("perpl.", "facts" if facts else "repeats", *more):
        table.add_column(name, justify="right", style="dim")
    for accuracy in accuracies:
        table.add_row(
            Text(_name(accuracy), STYLES[accuracy.condition]),
            _with_interval(*accuracy.shares["prompt_strict"]),
            *([_with_interval(*accuracy.shares["instruction_strict"])] if several else []),
            _number(accuracy.shares["prompt_loose"][0]),
            *_two(accuracy.quality, facts),
            *([_number(accuracy.judged)] if judged else []),
            *([_number(accuracy.quality.taken)] if taken else []),
        )
    return table


def suite_caption(evaluation: Evaluation) -> str:
    """What the tables of a suite hold, what was tested, and what was left out.

    Raises:
        TrimtabError: scipy is missing.
    """
    lines = ["In brackets: 95 % bootstrap intervals over prompts. Perplexity: under the unsteered model."]
    for comparison in evaluation.comparisons():
        if comparison.label is None:
            paired = comparison.paired
            p = p_value(paired.p)
            lines.append(
                f"{comparison.second} against {comparison.first}: {paired.difference:+.2f} of {paired.n} prompts "
                f"({paired.gained} gained, {paired.lost} lost; exact McNemar p {p if p.startswith('<') else '= ' + p})."
            )
    if worse_than_baseline(evaluation.rows()):
        lines.append(_WORSE)
    return "\n".join([*lines, *remarks_on(evaluation)])


def _table(first: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    table.add_column(first, overflow="fold")
    return table


def _two(quality: Quality, judged: bool) -> tuple[str, str]:
    """Perplexity, and facts where they are judged, else repetition."""
    perplexity = "-" if quality.perplexity is None else format_perplexity(quality.perplexity)
    return perplexity, _number(quality.facts if judged else quality.repetition)


def _described(qualities: Sequence[Quality], judged: bool) -> str:
    """The mean quality of rows, in the two numbers of the table."""
    mean_quality = Quality(
        mean(quality.perplexity for quality in qualities),
        mean(quality.repetition for quality in qualities) or 0.0,
        mean(quality.facts for quality in qualities),
    )
    return ", ".join(_two(mean_quality, judged))


def _name(accuracy: Accuracy) -> str:
    if accuracy.strength in (None, 1.0):
        return accuracy.condition
    return f"{accuracy.condition} × {accuracy.strength:g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _with_interval(share: float, interval: Interval) -> str:
    return f"{share:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
