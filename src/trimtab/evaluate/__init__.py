"""Measuring what a steering does: the four conditions, quality, statistics, and the report."""

from trimtab.evaluate.conditions import (
    CONDITIONS,
    Condition,
    Response,
    Row,
    evaluate_instruction,
    judge,
    respond,
    respond_baseline,
)
from trimtab.evaluate.quality import Quality, perplexity, repetition
from trimtab.evaluate.statistics import Interval, wilson

__all__ = [
    "CONDITIONS",
    "Condition",
    "Interval",
    "Quality",
    "Response",
    "Row",
    "evaluate_instruction",
    "judge",
    "perplexity",
    "repetition",
    "respond",
    "respond_baseline",
    "wilson",
]
