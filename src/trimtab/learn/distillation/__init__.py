"""Distillation: edits trained on the answers of a teacher."""

from trimtab.learn.distillation.distill import distill
from trimtab.learn.distillation.distilled import Distilled
from trimtab.learn.distillation.schedule import Schedule, Step

__all__ = [
    "Distilled",
    "Schedule",
    "Step",
    "distill",
]
