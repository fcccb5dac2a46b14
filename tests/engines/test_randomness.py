from __future__ import annotations

from typing import Any

import pytest
import torch

from trimtab.engines import randomness
from trimtab.engines.randomness import Randomness
from trimtab.errors import ModelError


def test_a_seed_leaves_the_generators_as_they_were_and_goes_on_where_it_stopped() -> None:
    state = torch.get_rng_state()
    stretches = Randomness(5)
    with stretches():
        first = torch.rand(2)
    with stretches():
        second = torch.rand(2)
    assert torch.equal(torch.get_rng_state(), state)
    with Randomness(5)():
        assert torch.equal(torch.rand(4), torch.cat([first, second]))
    with Randomness(None)():
        torch.rand(1)
    assert not torch.equal(torch.get_rng_state(), state)


def test_a_seed_must_fit() -> None:
    with pytest.raises(ModelError, match="must fit into 64 bits"):
        Randomness(2**64)


def test_the_numbers_are_those_of_torch_after_manual_seed() -> None:
    for seed in (0, 7, -3, 2**64 - 1):
        with Randomness(seed)():
            drawn = torch.randn(5)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            assert torch.equal(torch.randn(5), drawn)


class Accelerator:
    """The generator of a device that is not here: its state is a count."""

    def __init__(self) -> None:
        self.states: dict[str, Any] = {}

    def get_rng_state(self, device: torch.device) -> torch.Tensor:
        return torch.tensor(self.states.setdefault(str(device), 1000))

    def set_rng_state(self, state: torch.Tensor, device: torch.device) -> None:
        self.states[str(device)] = int(state)

    def draw(self, device: str) -> int:
        self.states[device] += 1
        return int(self.states[device])


@pytest.mark.parametrize("kind", ["mps", "xpu", "cuda"])
def test_generators_of_every_kind_of_device_are_left_alone(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Accelerator()
    monkeypatch.setattr(torch, "get_device_module", lambda device: {kind: there}[device.type])
    seeded = randomness._seeded
    monkeypatch.setattr(
        randomness,
        "_seeded",
        lambda device, seed: torch.tensor(seed) if device.type == kind else seeded(device, seed),
    )
    first, second = f"{kind}:0", f"{kind}:1"
    places = [torch.device(name) for name in (second, first, "cpu", "meta")]
    state = torch.get_rng_state()
    stretches = Randomness(5, places)
    with stretches():
        assert [there.draw(first), there.draw(first), there.draw(second)] == [6, 7, 6]
    assert there.states == {first: 1000, second: 1000}

    def interrupted() -> None:
        with stretches():
            assert there.draw(first) == 8
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert there.states == {first: 1000, second: 1000}
    assert torch.equal(torch.get_rng_state(), state)
