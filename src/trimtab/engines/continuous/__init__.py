"""Continuous batching on the transformers engine: requests join and leave the running batch at any token.

Each row has a steering, settings, a constraint and random numbers of its own, and is answered as it would be alone.
"""

from trimtab.engines.continuous.asks import Ask, Ending, Event, Running
from trimtab.engines.continuous.batch import RunningBatch

__all__ = ["Ask", "Ending", "Event", "Running", "RunningBatch"]
