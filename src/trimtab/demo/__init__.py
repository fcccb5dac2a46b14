"""The demonstration: learn and measure a list of instructions on one model, and report what came of it."""

from trimtab.demo.demonstration import Demonstration, Outcome
from trimtab.demo.plan import Plan, plan_for
from trimtab.demo.run import run
from trimtab.demo.saving import make_report, prepare_folder, save, summary

__all__ = [
    "Demonstration",
    "Outcome",
    "Plan",
    "make_report",
    "plan_for",
    "prepare_folder",
    "run",
    "save",
    "summary",
]
