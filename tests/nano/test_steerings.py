from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trimtab import instructions, nano
from trimtab.measure.responses import all_follow
from trimtab.steering.steering import Steering


def test_there_is_a_choice_of_families() -> None:
    found = [Steering.load(place).record.instructions for place in nano.steerings().values()]
    assert len({instructions.from_dict(one).type.family for [one] in found}) >= 5


@pytest.mark.parametrize("name", nano.steerings())
def test_what_ships_is_for_nano_and_is_followed(engines: Callable[[str], Any], name: str) -> None:
    engine = engines("nano")
    steering = Steering.load(nano.steerings()[name], engine.identity)
    wanted = [instructions.from_dict(one) for one in steering.record.instructions]
    queries = nano.queries("test", 6, seed=5)
    answers = engine.generate(queries, steering=steering, max_new_tokens=128)
    passed = all_follow([one.text for one in answers], queries, wanted)
    assert sum(passed) >= 5
