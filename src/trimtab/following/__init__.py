"""Answers that are checked, and tried again where the check fails, up to a constraint that guarantees them."""

from trimtab.following.attempts import Attempt, Followed
from trimtab.following.trying import STRENGTHS, Accept, follow
from trimtab.following.wanted import Wanted

__all__ = ["STRENGTHS", "Accept", "Attempt", "Followed", "Wanted", "follow"]
