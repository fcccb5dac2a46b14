"""What steering needs of the server that it stands on: its routes, and its workers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trimtab.steering.edits import Edit


def _nothing(path: str, body: Mapping[str, Any]) -> None:
    return None


@dataclass(frozen=True)
class Interface:
    """The routes of a server, as far as they concern steering.

    Attributes:
        generating: Paths at which a request may choose a steering.
        naming: Paths at which a request names a model and nothing is generated: the steering in its name is checked,
            and left out.
        arguments: The field of a request with arguments beyond OpenAI's; its entry `steering` chooses.
        arguments_pass: Other paths at which those arguments may stand: what reads them comes later.
        instead: By path, what to do there instead of asking for a steering; for paths that are not named, see
            `advice`.
        guarded: Beginnings of the paths at which the server asks for its API key, if it has one.
        alone: Whether nothing can be steered but what is asked at the `generating` paths; else any connection may be.
        refuse: Raises a `RefusedError` for a steered request, by its path and body, that cannot be served so.
    """

    generating: frozenset[str]
    naming: frozenset[str] = frozenset()
    arguments: str = "vllm_xargs"
    arguments_pass: frozenset[str] = frozenset()
    instead: Mapping[str, str] = field(default_factory=dict)
    guarded: tuple[str, ...] = ("/v1",)
    alone: bool = False
    refuse: Callable[[str, Mapping[str, Any]], None] = _nothing

    def advice(self, path: str) -> str:
        """What to do instead of asking for a steering at a path where none can be had."""
        places = ", ".join(sorted(place for place in self.generating if place.startswith("/v1/")))
        return self.instead.get(path, f"leave it out, or ask at {places}")


class Backend(Protocol):
    """A server that runs one model: the workers it runs on, and what it knows of its requests."""

    @property
    def interface(self) -> Interface:
        """Its routes."""

    @property
    def name(self) -> str:
        """What clients call the model."""

    def served(self) -> Collection[str]:
        """All names under which models are served."""

    def running(self) -> Collection[str]:
        """The ids of the requests that it has not finished."""

    async def models(self) -> dict[str, Any]:
        """The answer of `GET /v1/models` without steerings, in OpenAI's shape; the model itself comes first."""

    async def hold(self, digest: str, edits: Sequence[Edit]) -> None:
        """Give every worker a steering, so that requests can be served with it. Again, it changes nothing."""

    async def forget(self, digest: str) -> None:
        """Let every worker drop a steering that no request will be served with again."""

    async def statuses(self) -> Sequence[Sequence[Mapping[str, Any]]]:
        """How steering stands, by engine and worker; all workers of one engine have the same requests.

        Each is a mapping with `version` of trimtab, the digests that are `held`, and the `statistics` of the table of
        rows: `slots`, those `in_use`, how many steerings are `held`, `evictions` and `writes` so far.
        """
