"""Choosing where and how strongly to steer, on validation prompts, with a guard on quality."""

from trimtab.tune.grid import (
    FACTORS,
    STRENGTHS,
    Refitted,
    Tuned,
    Weights,
    default_blocks,
    refit_strength,
    search,
)
from trimtab.tune.guard import Candidate, Guard, Measured, Scaled
from trimtab.tune.paper import PaperRule
from trimtab.tune.vector import Vector, VectorMethod, learn_directions, make_vector

__all__ = [
    "Candidate",
    "FACTORS",
    "Guard",
    "Measured",
    "PaperRule",
    "Refitted",
    "STRENGTHS",
    "Scaled",
    "Tuned",
    "Vector",
    "VectorMethod",
    "Weights",
    "default_blocks",
    "learn_directions",
    "make_vector",
    "refit_strength",
    "search",
]
