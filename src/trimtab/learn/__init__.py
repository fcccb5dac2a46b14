"""Learning what an instruction does inside a model: one method per module, its formula and paper at the top."""

from trimtab.learn.captured import Source, learning_source
from trimtab.learn.contrast import contrast
from trimtab.learn.directions import Directions
from trimtab.learn.distillation.distill import distill
from trimtab.learn.distillation.distilled import Distilled
from trimtab.learn.distillation.schedule import Schedule, Step
from trimtab.learn.distillation.teachers import Teacher
from trimtab.learn.distillation.trainable import TrainableEdits
from trimtab.learn.mean_difference import mean_difference
from trimtab.learn.nearest import Nearest, nearest_added
from trimtab.learn.nearest_when import NearestWhen, nearest_when
from trimtab.learn.pca import pca
from trimtab.learn.resembling import judge_when, when

__all__ = [
    "Directions",
    "Distilled",
    "Nearest",
    "NearestWhen",
    "Schedule",
    "Source",
    "Step",
    "Teacher",
    "TrainableEdits",
    "contrast",
    "distill",
    "judge_when",
    "learning_source",
    "mean_difference",
    "nearest_added",
    "nearest_when",
    "pca",
    "when",
]
