"""Whole suites under the four conditions, with a cache of answers and a judge."""

from trimtab.evaluate.cache import ContentCache
from trimtab.evaluate.results import Evaluation
from trimtab.evaluate.run import evaluate_suite
from trimtab.evaluate.suites import Item, Suite
from trimtab.measure.bounds import Bounds, within
from trimtab.measure.quality import Quality, perplexity, repetition
from trimtab.measure.responses import Response, respond, respond_baseline
from trimtab.measure.rows import ALL_CONDITIONS, CONDITIONS, Condition, Row, evaluate_instruction, judge
from trimtab.measure.scorer import Scorer
from trimtab.measure.statistics import Interval, wilson
from trimtab.steering.collection import SteeringSet

__all__ = [
    "Bounds",
    "Scorer",
    "within",
    "ALL_CONDITIONS",
    "CONDITIONS",
    "Condition",
    "ContentCache",
    "Evaluation",
    "Interval",
    "Item",
    "Quality",
    "Response",
    "Row",
    "SteeringSet",
    "Suite",
    "evaluate_instruction",
    "evaluate_suite",
    "judge",
    "perplexity",
    "repetition",
    "respond",
    "respond_baseline",
    "wilson",
]
