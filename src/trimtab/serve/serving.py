"""The steerings of a running server: how they come, reach every worker, and go.

A steering is named only after every worker holds it. When it is unloaded its name is gone at once, and its digest stays
good for the requests that were promised it: the workers forget it after the last of them has ended. The same steering
may be loaded again at any moment in between.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from trimtab._version import __version__
from trimtab.errors import ModelError, SteeringError
from trimtab.serve.in_flight import InFlight
from trimtab.serve.refusal import RefusedError

if TYPE_CHECKING:
    from trimtab.serve.backend import Backend
    from trimtab.serve.library import Entry, SteeringLibrary
    from trimtab.serve.metrics import Metrics

_PATIENCE = 30.0
"""Seconds until workers that failed to forget a steering are asked again."""


def unknown(message: object) -> RefusedError:
    """The refusal of a name in an address."""
    return RefusedError(message, reason="unknown", status=404, parameter="name")


class Serving:
    """What one server knows about its steerings.

    Args:
        library: The steerings that can be named.
        backend: The server that this one stands on.
        metrics: Where requests are counted.
        may_change: Whether clients may load and unload.
        has_key: Whether the server asks for an API key.
        origins: Sites whose pages may load and unload, besides the server's own.
        folder: Whose subfolders clients may load.
        log: Where it is told what is steered, loaded and unloaded.
        logs_requests: Whether that is told of each steered request; not where the server says so itself.
    """

    def __init__(
        self,
        library: SteeringLibrary,
        backend: Backend,
        *,
        metrics: Metrics,
        may_change: bool,
        has_key: bool = False,
        origins: Collection[str] = (),
        folder: str | None = None,
        log: logging.Logger | None = None,
        logs_requests: bool = True,
    ) -> None:
        self.library = library
        self.backend = backend
        self.metrics = metrics
        self.may_change = may_change
        self.has_key = has_key
        self.origins = frozenset(origins)
        self.folder = folder
        self.log = logging.getLogger(__name__) if log is None else log
        self.logs_requests = logs_requests
        self.in_flight = InFlight()
        self.patience = _PATIENCE
        self._changing = asyncio.Lock()
        # Digests without a name, each with a mark of when it lost the last one.
        self._leaving: dict[str, object] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def begin(self) -> None:
        """Make sure that all workers can serve, and give them what they lack.

        Raises:
            ModelError: A worker has another version of trimtab, or steers nothing.
        """
        engines = await self.backend.statuses()
        workers = [status for engine in engines for status in engine]
        others = sorted({str(status["version"]) for status in workers} - {__version__})
        if others:
            raise ModelError(
                f"a worker has trimtab {', '.join(others)}, this server has {__version__}; install one version on "
                "every node"
            )
        for entry in self.library.entries():
            if any(entry.digest not in status["held"] for status in workers):
                await self._hold(entry)
        self.metrics.loaded(len(self.library.names()))
        self.keep(self.metrics.watch(self.tables))

    async def tables(self) -> list[Mapping[str, int]]:
        """The statistics of each engine's table; all workers of one engine have the same requests."""
        return [engine[0]["statistics"] for engine in await self.backend.statuses()]

    def apart(self) -> SteeringLibrary:
        """An empty library with the same demands: what passes there can be served, and nothing can name it yet."""
        own = self.library
        return type(own)(own.identity, gates=own.gates, limit=1, limit_bytes=own.limit_bytes, dtype=own.dtype)

    async def load(self, new: Entry, *, replace: bool = False) -> Entry:
        """Let a steering, judged by `apart`, be named from now on; `replace` lets it take the place of another.

        Raises:
            RefusedError: There is another of its name, or a worker failed to take it.
            SteeringError: The library is full.
        """
        async with self._changing:
            before = self._named(new.name)
            if before is not None and before.digest == new.digest:
                return before
            if before is not None and not replace:
                raise RefusedError(
                    f"there is another steering named '{new.name}' here; unload it first, or ask for replace=true",
                    reason="taken",
                    status=409,
                    parameter="name",
                )
            try:
                await self._hold(new)
                entry = await asyncio.to_thread(self.library.add, new.name, new.steering)
            except BaseException:  # some workers may hold it
                self._let_go(new.digest)
                raise
            self._leaving.pop(entry.digest, None)
            self.metrics.loaded(len(self.library.names()))
            self.log.info("steering %r is %s", entry.name, entry.digest)
            if before is not None:
                self._let_go(before.digest)
            return entry

    async def unload(self, name: str) -> Entry:
        """Let a steering be named no more."""
        async with self._changing:
            if self._named(name) is None:
                raise unknown(f"there is no steering named {name!r:.100} here")
            entry = self.library.remove(name)
            self.metrics.loaded(len(self.library.names()))
            self.log.info("steering %r is unloaded", name)
            self._let_go(entry.digest)
            return entry

    def entry(self, name_or_digest: str) -> Entry:
        """The steering of a name or a digest."""
        try:
            return self.library.get(name_or_digest, named=True)
        except SteeringError as error:
            raise unknown(error) from error

    def keep(self, work: Any) -> None:
        """Run a coroutine in the background, for as long as the server lives."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Stop what runs in the background."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _hold(self, entry: Entry) -> None:
        try:
            await self.backend.hold(entry.digest, entry.steering.edits)
        except Exception as error:
            self.log.exception("a worker cannot take the steering %r", entry.name)
            raise RefusedError(
                f"the workers cannot take the steering '{entry.name}' ({type(error).__name__}), so it is not loaded; "
                "the server's log says why",
                reason="workers",
                status=503,
            ) from error

    def _named(self, name: str) -> Entry | None:
        return next((entry for entry in self.library.entries() if entry.name == name), None)

    def _let_go(self, digest: str) -> None:
        if not any(entry.digest == digest for entry in self.library.entries()):
            self._leaving[digest] = mark = object()
            self.keep(self._forget(digest, mark))

    async def _forget(self, digest: str, mark: object) -> None:
        """Drop a digest once no request can need it: after it cannot be resolved, those that resolved it must end.

        Stops as soon as the steering is loaded again; another such task then begins when it is unloaded again.
        """
        await self._quiet()
        async with self._changing:
            if self._leaving.get(digest) is not mark:
                return
            self.library.drop(digest)
        await self._quiet()
        while True:
            async with self._changing:
                if self._leaving.get(digest) is not mark:
                    return
                try:
                    await self.backend.forget(digest)
                except Exception:
                    self.log.exception("the workers hold steering %s still; they are asked again", digest)
                else:
                    del self._leaving[digest]
                    self.log.info("steering %s is forgotten", digest)
                    return
            await asyncio.sleep(self.patience)

    async def _quiet(self) -> None:
        """Wait until whatever is being answered now has ended, in the engine too.

        A client that hangs up ends its HTTP request a moment before the server takes the request out of its engine.
        """
        await self.in_flight.ended()
        waiting = set(self.backend.running())
        while waiting:
            await asyncio.sleep(0.05)
            waiting &= set(self.backend.running())
