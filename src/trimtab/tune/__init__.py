"""Choosing where and how strongly to steer, on validation prompts, with a guard on quality."""

from trimtab.tune.grid import FACTORS, STRENGTHS, default_blocks, refit_strength, search
from trimtab.tune.guard import Guard
from trimtab.tune.paper import PaperRule
from trimtab.tune.tuned import Candidate, Measured, Tuned, Weights
from trimtab.tune.vector import Vector, learn_directions, make_vector

__all__ = [
    "FACTORS",
    "STRENGTHS",
    "Candidate",
    "Guard",
    "Measured",
    "PaperRule",
    "Tuned",
    "Vector",
    "Weights",
    "default_blocks",
    "learn_directions",
    "make_vector",
    "refit_strength",
    "search",
]
