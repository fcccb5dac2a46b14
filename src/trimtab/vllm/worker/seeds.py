"""Seeds on a CPU: model runner V1 of vLLM 0.32 ends its process at a seeded request whose prompt comes in chunks.

A chunk that is not the last samples a token that nobody wants, and the runner takes the draw back by moving the
generator's offset, which generators of a CPU do not have. Here the generator is set back to what it was instead.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np


def mend(runner: Any) -> None:
    """Wraps two methods of `GPUModelRunner` of model runner V1; doing it again changes nothing."""
    if getattr(runner._sample, "trimtab", False):
        return
    sample, keep_books = runner._sample, runner._bookkeeping_sync

    @functools.wraps(sample)
    def _sample(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.device.type != "cpu":
            return sample(self, *args, **kwargs)
        generators = self.input_batch.generators
        unwanted = np.nonzero(self.discard_request_mask.np[: self.input_batch.num_reqs])[0].tolist()
        before = {place: generators[place].get_state() for place in unwanted if place in generators}
        output = sample(self, *args, **kwargs)
        self.trimtab_generators = {place: generators.pop(place) for place in before}
        for place, state in before.items():
            self.trimtab_generators[place].set_state(state)
        return output

    @functools.wraps(keep_books)
    def _bookkeeping_sync(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return keep_books(self, *args, **kwargs)
        finally:
            self.input_batch.generators.update(self.__dict__.pop("trimtab_generators", {}))

    _sample.trimtab = True  # type: ignore[attr-defined]
    runner._sample, runner._bookkeeping_sync = _sample, _bookkeeping_sync
