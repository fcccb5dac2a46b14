"""What the processes of `test_ranks.py` do: the distillation of a scripted model, saved by each in its own folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.learn.scripted import HELD_OUT, QUERIES, Asked, Scripted

from trimtab import instructions, learn
from trimtab.engines.ranks import Ranks
from trimtab.steering.steering import Steering


def answer(asked: Asked) -> str:
    """One query is only followed when it is asked again."""
    if asked.steered or not (asked.is_bare or ("sea" in asked.prompt and asked.temperature == 0)):
        return "quite so"
    return "quite, so"


def learned() -> Steering:
    return learn.distill(
        Scripted(answer),
        QUERIES,
        instructions.get("no_commas"),
        validation=HELD_OUT,
        schedule=learn.Schedule(steps=4, batch_size=5),  # 3 lessons for the one, 2 for the other
        others=[],
    ).steering


if __name__ == "__main__":
    assert Ranks().count == int(os.environ["WORLD_SIZE"])
    learned().save(Path(sys.argv[1]) / os.environ["RANK"])
