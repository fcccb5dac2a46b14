"""Which steerings the workers hold: each sent once, none forgotten that somebody uses."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trimtab.errors import SteeringError
from trimtab.steering.edits import Edit
from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.steering import Steering
from trimtab.vllm.held_steerings import HeldSteerings
from trimtab.vllm.packing import unpack_edits

WIDTH = 4
RECORD = Record(ModelIdentity("tiny", None, "llama", 2, WIDTH, "plain"))


def steering(value: float = 1.0, gates: int = 0, name: str = "one") -> Steering:
    edits = [Edit.add(0, torch.ones(WIDTH), value)]
    edits += [
        Edit(1, torch.ones(WIDTH) * (n + value), 0.0, torch.ones(WIDTH) / (n + 2)) for n in range(gates)
    ]
    return Steering(name, tuple(edits), RECORD)


class Workers:
    """Takes the calls, and refuses what real workers would not have to do."""

    def __init__(self) -> None:
        self.held: dict[str, tuple[Edit, ...]] = {}
        self.calls: list[str] = []

    def __call__(self, method: str, *arguments: Any) -> None:
        self.calls.append(method)
        if method == "trimtab_hold":
            digest, packed = arguments
            assert digest not in self.held
            self.held[digest] = unpack_edits(packed)
        else:
            assert method == "trimtab_forget"
            del self.held[arguments[0]]


def of(workers: Workers, **options: Any) -> HeldSteerings:
    return HeldSteerings(workers, **{"gates": 4, "dtype": torch.float32, **options})


def test_equal_steerings_are_sent_once() -> None:
    workers = Workers()
    steerings = of(workers)
    one = steering()
    with steerings.held([one, None, one, steering(name="another"), steering(2.0)]) as compositions:
        assert len(workers.held) == 2
        assert compositions[1] == ()
        assert compositions[0] == compositions[2] == compositions[3] != compositions[4]
        assert {composition[0][0] for composition in compositions if composition} == set(workers.held)
    with steerings.held([steering()]):
        pass
    assert workers.calls == ["trimtab_hold"] * 2


def test_those_unused_longest_are_forgotten_first() -> None:
    workers = Workers()
    steerings = of(workers, kept=2)
    digests = {}
    for value in (1.0, 2.0, 1.0, 3.0):
        with steerings.held([steering(value)]) as [composition]:
            digests[value] = composition[0][0]
    assert set(workers.held) == {digests[1.0], digests[3.0]}


def test_what_is_in_use_is_not_forgotten() -> None:
    workers = Workers()
    steerings = of(workers, kept=0)
    with steerings.held([steering(1.0)]) as [first]:
        with steerings.held([steering(1.0), steering(2.0)]):
            assert len(workers.held) == 2
        assert set(workers.held) == {first[0][0]}
    assert not workers.held


def test_a_call_that_fails_holds_nothing_back() -> None:
    workers = Workers()
    steerings = of(workers, kept=0)
    with pytest.raises(KeyboardInterrupt), steerings.held([steering()]):
        raise KeyboardInterrupt
    assert not workers.held


def test_too_many_gated_edits_are_refused_with_the_number_to_ask_for() -> None:
    steerings = of(Workers(), gates=2)
    steerings.check([None, steering(gates=2)])
    with pytest.raises(
        SteeringError, match=r"'wide' has 3 gated edits in one block.*tables take 2.*engine with gates=3"
    ):
        steerings.check([steering(gates=3, name="wide")])


def test_values_that_the_tables_cannot_hold_are_refused() -> None:
    of(Workers()).check([steering(1e6)])
    with pytest.raises(SteeringError, match=r"too large for the tables' float16.*table_dtype"):
        of(Workers(), dtype=torch.float16).check([steering(1e6)])
