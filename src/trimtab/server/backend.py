"""The embedded server as `trimtab.serve` sees it: its routes, and one worker, the engine in this process."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trimtab._version import __version__
from trimtab.serve.backend import Interface

if TYPE_CHECKING:
    from trimtab.server.runner import Runner
    from trimtab.steering.edits import Edit

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
INTERFACE = Interface(generating=frozenset({CHAT, COMPLETIONS}), alone=True)


class EmbeddedBackend:
    """What serves, as `trimtab.serve.backend.Backend` has it.

    Args:
        name: What clients call the model.
        runner: What writes the answers.
        rows: How many at once.

    Attributes:
        held: The edits of each steering, by digest, of which requests may be promised.
    """

    interface = INTERFACE

    def __init__(self, name: str, runner: Runner, rows: int) -> None:
        self._name = name
        self._runner = runner
        self._rows = rows
        self._created = int(time.time())
        self.held: dict[str, tuple[Edit, ...]] = {}

    @property
    def name(self) -> str:
        """What clients call the model."""
        return self._name

    def served(self) -> Collection[str]:
        """The name of the model."""
        return [self._name]

    def running(self) -> Collection[str]:
        """The answers that are not finished; a steering is forgotten after the last that it may steer."""
        return [str(writing.number) for writing in self._runner.writing]

    async def models(self) -> dict[str, Any]:
        """The one model, in OpenAI's shape."""
        card = {
            "id": self._name,
            "object": "model",
            "created": self._created,
            "owned_by": "trimtab",
            "root": self._name,
            "parent": None,
        }
        return {"object": "list", "data": [card]}

    async def hold(self, digest: str, edits: Sequence[Edit]) -> None:
        """Keeps the edits of a steering."""
        self.held[digest] = tuple(edits)

    async def forget(self, digest: str) -> None:
        """Drops them."""
        self.held.pop(digest, None)

    async def statuses(self) -> Sequence[Sequence[Mapping[str, Any]]]:
        """One engine, one worker. Its table is as large as the batch: a row for each answer that is written."""
        compositions = {writing.composition for writing in self._runner.writing if writing.composition}
        statistics = {
            "slots": self._rows,
            "in_use": min(len(compositions), self._rows),
            "held": len(self.held),
            "evictions": 0,
            "writes": self._runner.steered,
        }
        return [[{"version": __version__, "held": sorted(self.held), "statistics": statistics}]]
