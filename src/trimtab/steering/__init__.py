"""A steering: its edits, when they act, the record of where they come from, and the folder it is kept in."""

from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.steering import Steering

__all__ = [
    "ModelIdentity",
    "Record",
    "Steering",
]
