"""A steering: its edits, when they act, where they come from, the folder it is kept in, and the hooks it acts by."""

from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.steering import Steering

__all__ = ["ModelIdentity", "Record", "Steering"]
