"""Which steerings the workers hold for an engine: sent before they are used, forgotten when others are used instead."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from trimtab.serve.rows import digest_of, fold
from trimtab.vllm.packing import pack_edits

if TYPE_CHECKING:
    from trimtab.serve.composition import Composition
    from trimtab.steering.steering import Steering

KEPT = 256
"""Steerings that stay with the workers while nobody is steered by them."""


class HeldSteerings:
    """The steerings of one engine whose workers are reached by `rpc(method, *arguments)`.

    Up to `kept` stay with the workers while nobody is steered by them.
    """

    def __init__(self, rpc: Callable[..., Any], *, gates: int, dtype: torch.dtype, kept: int = KEPT) -> None:
        self._rpc = rpc
        self._gates = gates
        self.dtype = dtype
        self._kept = kept
        self._lock = threading.Lock()
        self._held: OrderedDict[str, None] = OrderedDict()  # least recently used first
        self._users: Counter[str] = Counter()

    def check(self, rows: Sequence[Steering | None]) -> None:
        """Refuses steerings that the tables cannot take."""
        for steering in {id(one): one for one in rows if one is not None}.values():
            fold(steering.edits).check(self._gates, self.dtype, steering.name, "engine")

    @contextmanager
    def held(self, rows: Sequence[Steering | None]) -> Iterator[list[Composition]]:
        """Inside, every worker holds the steerings of these rows, decided; yields what steers each row."""
        digests: dict[int, str] = {}
        for steering in rows:
            if steering is not None and id(steering) not in digests:
                digests[id(steering)] = digest_of(steering.edits)
        contents = {digests[id(one)]: one for one in rows if one is not None}
        try:
            with self._lock:
                self._users.update(contents.keys())
                for digest, steering in contents.items():
                    if digest not in self._held:
                        self._rpc("trimtab_hold", digest, pack_edits(steering.edits))
                    self._held[digest] = None
                    self._held.move_to_end(digest)
            yield [((digests[id(one)], 1.0),) if one is not None else () for one in rows]
        finally:
            with self._lock:
                self._users -= Counter(dict.fromkeys(contents, 1))
                self._forget()

    def _forget(self) -> None:
        idle = [digest for digest in self._held if not self._users[digest]]
        for digest in idle[: max(0, len(idle) - self._kept)]:
            del self._held[digest]
            self._rpc("trimtab_forget", digest)
