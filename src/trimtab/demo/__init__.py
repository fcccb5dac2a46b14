"""The demonstration: learn and measure a list of instructions on one model, and report what came of it."""

from trimtab.demo.demonstration import Demonstration, Learned
from trimtab.demo.plan import Plan, plan_for
from trimtab.demo.run import run
from trimtab.demo.saving import make_report, prepare_folder, save, summary

__all__ = [
    "Demonstration",
    "Learned",
    "Plan",
    "make_report",
    "plan_for",
    "prepare_folder",
    "run",
    "save",
    "summary",
]
