"""Judges: who answers the question of an instruction that no program can check.

A judge is a model that is asked yes or no (`ModelJudge`), a model behind an endpoint (`EndpointJudge`), or a classifier
of a model's activations (`ProbeJudge`). It is no check: every figure that comes of it goes by its name, and
`agreement` says how often it agrees with a person.
"""

from trimtab.measure.judges.agreement import Agreement, Labelled, agreement, labelled
from trimtab.measure.judges.base import Calibration, InstructionJudge, Store, judges_of, known
from trimtab.measure.judges.endpoint import EndpointJudge
from trimtab.measure.judges.model import ModelJudge
from trimtab.measure.judges.probe import ProbeJudge

__all__ = [
    "Agreement",
    "Calibration",
    "EndpointJudge",
    "InstructionJudge",
    "Labelled",
    "ModelJudge",
    "ProbeJudge",
    "Store",
    "agreement",
    "judges_of",
    "known",
    "labelled",
]
