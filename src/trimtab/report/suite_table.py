"""What a suite measured, as tables for the terminal."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from trimtab.evaluate.accuracy import Accuracy
from trimtab.evaluate.results import Evaluation
from trimtab.measure.rows import CONDITIONS
from trimtab.measure.statistics import Interval
from trimtab.report.page import format_perplexity, worse_than_baseline
from trimtab.report.plots import by_instruction
from trimtab.report.suite import p_value, remarks_on
from trimtab.report.tables import STYLES


def instruction_table(evaluation: Evaluation) -> Table:
    """The share followed by instruction and condition, and whether steering made a difference.

    Args:
        evaluation: What was measured.

    Returns:
        A table that fits 80 columns.

    Raises:
        TrimtabError: scipy is missing.
    """
    rows = evaluation.rows()
    worse = worse_than_baseline(rows)
    adjusted = {
        comparison.label: comparison.p_adjusted
        for comparison in evaluation.comparisons()
        if comparison.first == "baseline"
    }
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    table.add_column("instruction", overflow="fold")
    table.add_column("n", justify="right", style="dim")
    present = [condition for condition in CONDITIONS if condition in evaluation.conditions]
    for condition in present:
        table.add_column(condition.replace("+", "\n+"), justify="right", style=STYLES[condition])
    if adjusted:
        table.add_column("p, adj.", justify="right", style="dim")
    for label, found in by_instruction(rows):
        cells = []
        for condition in present:
            row = found.get(condition)
            if row is None:
                cells.append(Text("-"))
            elif (label, condition) in worse:
                cells.append(Text(f"▼{row.followed:.2f}", "red"))
            else:
                cells.append(Text(f"{row.followed:.2f}"))
        tail = [p_value(adjusted[label]) if label in adjusted else "-"] if adjusted else []
        table.add_row(Text(label), str(max(row.n for row in found.values())), *cells, *tail)
    return table


def overall_table(evaluation: Evaluation) -> Table:
    """IFEval's accuracies with their intervals, and quality, by condition and strength.

    Args:
        evaluation: What was measured.

    Returns:
        A table that fits 80 columns.

    Raises:
        TrimtabError: scipy is missing.
    """
    accuracies = evaluation.accuracies()
    facts = any(accuracy.quality.facts is not None for accuracy in accuracies)
    judged = any(accuracy.judged is not None for accuracy in accuracies)
    several = any(accuracy.instructions != accuracy.prompts for accuracy in accuracies)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), collapse_padding=True)
    table.add_column("condition")
    table.add_column("prompts, strict", justify="right")
    # With one instruction a prompt the two are the same.
    if several:
        table.add_column("instr., strict", justify="right")
    table.add_column("loose", justify="right")
    table.add_column("perpl.", justify="right", style="dim")
    table.add_column("facts" if facts else "repeats", justify="right", style="dim")
    if judged:
        table.add_column("judge", justify="right", style="dim")
    for accuracy in accuracies:
        quality = accuracy.quality
        second = quality.facts if facts else quality.repetition
        cells = [_with_interval(*accuracy.shares["prompt_strict"])]
        if several:
            cells.append(_with_interval(*accuracy.shares["instruction_strict"]))
        cells += [
            f"{accuracy.shares['prompt_loose'][0]:.2f}",
            "-" if quality.perplexity is None else format_perplexity(quality.perplexity),
            "-" if second is None else f"{second:.2f}",
        ]
        if judged:
            cells.append("-" if accuracy.judged is None else f"{accuracy.judged:.2f}")
        table.add_row(Text(_name(accuracy), STYLES[accuracy.condition]), *cells)
    return table


def caption_of(evaluation: Evaluation) -> str:
    """What the tables hold, what was tested, and what was left out.

    Args:
        evaluation: What was measured.

    Returns:
        Some lines.

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
        lines.append("▼ steering does worse here than the same prompt without it.")
    return "\n".join([*lines, *remarks_on(evaluation)])


def _name(accuracy: Accuracy) -> str:
    if accuracy.strength in (None, 1.0):
        return accuracy.condition
    return f"{accuracy.condition} × {accuracy.strength:g}"


def _with_interval(share: float, interval: Interval) -> str:
    return f"{share:.2f} [{interval.low:.2f}, {interval.high:.2f}]"
