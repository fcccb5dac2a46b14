"""The embedded server apart from HTTP: an engine, its running batch, its steerings, and answers in process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab.engines.chat import beginning
from trimtab.errors import SteeringError
from trimtab.serve.library import MIB, SteeringLibrary
from trimtab.serve.metrics import Metrics
from trimtab.serve.serving import Serving
from trimtab.server.backend import EmbeddedBackend
from trimtab.server.counting import Counts
from trimtab.server.limits import Limits
from trimtab.server.preparing import Preparing
from trimtab.server.runner import Runner
from trimtab.server.writing import Answers, Part
from trimtab.steering.steering import Steering

if TYPE_CHECKING:
    from trimtab.constraint import Constraint
    from trimtab.engines.base import Prompt
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.serve.composition import Composition
    from trimtab.steering.edits import Edit


class Embedded:
    """One model served in this process.

    Args:
        engine: What answers. Others may use it too: each call waits for the step under way.
        name: What clients call the model; the engine's own name when None.
        steerings: A folder whose subfolders each hold a saved steering.
        gates: How many gated edits one request may have in one block.
        limit: The most steerings at once.
        limit_mib: The largest steering, in MiB.
        limits: How much is taken on.
        may_change: Whether clients may load and unload steerings.
        key: The API key that the server asks for; None for none.
        origins: Sites whose pages may use the server, and load and unload.
        log: Where it is told what becomes of requests and steerings.

    Attributes:
        key: The API key; None for none.
        origins: Sites whose pages may use the server.
        serving: The steerings: `serving.library` has them, `await serving.load(entry)` adds one.
        runner: What runs the batch.
        registry: What Prometheus is told, as `/metrics` gives it.

    Raises:
        SteeringError: A steering of the folder cannot be served.
    """

    def __init__(
        self,
        engine: TransformersEngine,
        *,
        name: str | None = None,
        steerings: Path | None = None,
        gates: int = 4,
        limit: int = 1000,
        limit_mib: int = 64,
        limits: Limits | None = None,
        may_change: bool = True,
        key: str | None = None,
        origins: Sequence[str] = (),
        log: logging.Logger | None = None,
    ) -> None:
        from prometheus_client import CollectorRegistry

        from trimtab.engines.continuous import RunningBatch

        self.engine = engine
        self.limits = limits or Limits()
        self.key = key
        self.origins = tuple(origins)
        self.log = logging.getLogger("trimtab.server") if log is None else log
        library = SteeringLibrary(engine.identity, gates=gates, limit=limit, limit_bytes=limit_mib * MIB)
        if steerings is not None:
            library.load_folder(steerings)
        rows = self.limits.rows
        self.runner = Runner(
            lambda: RunningBatch(engine, max_rows=rows), rows=rows, waiting=self.limits.waiting, log=self.log
        )
        self.backend = EmbeddedBackend(name or engine.identity.id, self.runner, rows)
        self.preparing = Preparing(engine, library, self.backend.held, self.limits)
        self.registry = CollectorRegistry()
        self.tokens = Counts(self.registry, self.runner)
        self.serving = Serving(
            library,
            self.backend,
            metrics=Metrics(self.registry),
            may_change=may_change,
            has_key=key is not None,
            origins=origins,
            folder=None if steerings is None else str(steerings),
            log=self.log,
            logs_requests=False,
        )

    async def start(self) -> None:
        """Begins to serve, in the event loop that this is called in."""
        self.runner.start()
        await self.serving.begin()

    async def stop(self) -> None:
        """Ends what is under way."""
        await self.serving.end()
        await self.runner.stop()

    async def answer(
        self,
        prompt: Prompt,
        *,
        steering: Steering | str | dict[str, Any] | None = None,
        constraint: Constraint | None = None,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        seed: int | None = None,
        logprobs: int | None = None,
        stops: Sequence[str] = (),
    ) -> AsyncIterator[Part]:
        """Answers one prompt in the running batch, with all that is asked over HTTP, part by part.

        Left early, or its task cancelled, it frees its place.

        Args:
            prompt: A text or a chat.
            steering: One at hand, saved or not; or what a request would say (`"json*0.8+lowercase"`).
            constraint: What the answer is held to.
            max_new_tokens: The longest answer, in tokens.
            temperature: Of sampling; 0 takes the likeliest token.
            seed: Makes sampling repeatable.
            logprobs: How many likely tokens to tell at each place; None for none.
            stops: Texts at which it ends.

        Raises:
            TrimtabError: It cannot be had; a `BusyError` where there is no place.
        """
        preparing = self.preparing
        composition: Composition
        edits: Sequence[Edit]
        if isinstance(steering, Steering):
            steering.check_model(self.engine.identity)
            if steering.whens:
                raise SteeringError(
                    f"the steering '{steering.name}' acts only if {steering.whens[0].describe()}; decide that before "
                    "(engine.decided)"
                )
            composition, edits = (((steering.digest(), 1.0),), steering.edits)
        else:
            composition, edits = preparing.steering(steering)
        [row] = self.engine.encoding.prompts([prompt])
        held = None
        if constraint is not None:
            held = await asyncio.to_thread(preparing.start, constraint, beginning(prompt))
            row = self.engine.encoding.answering(row)
        sampling: dict[str, Any] = {"do_sample": temperature > 0}
        if temperature > 0:
            sampling["temperature"] = temperature
        order = preparing.order(
            row,
            edits,
            preparing.longest(len(row), max_new_tokens),
            **sampling,
            seed=seed,
            logprobs=logprobs,
            held=held,
            stops=stops,
        )
        answers = Answers(self.runner, [order], composition, self.limits.seconds)
        answers.begin()
        try:
            async for part in answers.parts():
                yield part
        finally:
            answers.close()
