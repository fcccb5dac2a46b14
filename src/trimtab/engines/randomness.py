"""Random numbers from a seed, that leave the generators of torch as they were, on every kind of device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from trimtab.errors import ModelError

_CPU = torch.device("cpu")


class Randomness:
    """A stretch of torch's random numbers from a seed, that leaves torch's own generators as they were.

    Without a seed, the numbers are those of torch's own generators. `devices` is where some may be drawn beside the
    CPU.
    """

    def __init__(self, seed: int | None, devices: Iterable[torch.device] = ()) -> None:
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
            raise ModelError(f"the seed must be a whole number, not {seed!r:.60}")
        if seed is not None and not -(2**63) <= seed < 2**64:
            raise ModelError(f"the seed {_shown(seed)} is too large; it must fit into 64 bits")
        self._seed = seed
        others = {device for device in devices if device.type not in ("cpu", "meta")}
        self._devices = [_CPU, *sorted(others, key=str)]
        self._states: list[Tensor] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Draws from the seed inside; entered again, goes on where it stopped."""
        if self._seed is None:
            yield
            return
        # `torch.manual_seed` would seed all devices there are, and `fork_rng` takes back those of one kind.
        if not self._states:
            self._states = [_seeded(device, self._seed) for device in self._devices]
        before = [_state(device) for device in self._devices]
        try:
            self._set(self._states)
            yield
        finally:
            self._states = [_state(device) for device in self._devices]
            self._set(before)

    def _set(self, states: list[Tensor]) -> None:
        for device, state in zip(self._devices, states, strict=True):
            if device == _CPU:
                torch.set_rng_state(state)
            else:
                _module(device).set_rng_state(state, device)


def _shown(seed: int) -> str:
    return str(seed) if abs(seed) < 10**30 else f"of {seed.bit_length()} bits"


def _seeded(device: torch.device, seed: int) -> Tensor:
    generator = torch.Generator(device)
    generator.manual_seed(seed)
    return generator.get_state()


def _state(device: torch.device) -> Tensor:
    state: Tensor = torch.get_rng_state() if device == _CPU else _module(device).get_rng_state(device)
    return state


def _module(device: torch.device) -> Any:
    """`torch.cuda`, `torch.mps`, `torch.xpu`, ..."""
    return torch.get_device_module(device)
