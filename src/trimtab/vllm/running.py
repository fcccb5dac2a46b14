"""Requests on a vLLM engine: several callers share one, and each gets the answers to its own."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimtab.errors import ModelError
from trimtab.vllm.soundness import failure


@dataclass(frozen=True)
class Request:
    """Token ids, and the `vllm.SamplingParams` by which they are continued."""

    prompt: Sequence[int]
    params: Any
    dropped: bool = False
    """Whether nobody looks at what is written: it may then be unsound."""


class Requests:
    """Runs requests, as many at once as vLLM takes: its scheduler batches those of all callers together.

    Whoever waits runs the next step of the `LLMEngine` for everyone, and what comes for others is kept for them.
    """

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._lock = threading.RLock()
        self._numbers = itertools.count()
        self._mail: dict[str, list[Any]] = {}

    def outputs(
        self, requests: Sequence[Request], at_once: int | None = None
    ) -> Generator[tuple[int, Any], None, None]:
        """Runs requests, so many at once; leaving the iterator early aborts those that are not finished.

        Yields:
            The number of a request, and a `vllm.RequestOutput` of it.

        Raises:
            ModelError: vLLM refuses one, the model gives values that are not finite, or vLLM's processes have died.
        """
        waiting = deque(enumerate(requests))
        running: dict[str, int] = {}
        try:
            while waiting or running:
                with self._lock:
                    while waiting and (at_once is None or len(running) < at_once):
                        number, request = waiting.popleft()
                        running[self._add(request)] = number
                    if not any(self._mail[name] for name in running):
                        self._step()
                    found = [(name, output) for name in running for output in self._collect(name)]
                for name, output in found:
                    number = running[name]
                    if output.finished:
                        del running[name]
                        self._mail.pop(name, None)
                    if (reason := failure(output)) and not requests[number].dropped:
                        raise ModelError(reason)
                    yield number, output
        finally:
            self._abort(running)

    def _add(self, request: Request) -> str:
        from vllm.inputs.engine import tokens_input

        name = f"trimtab-{next(self._numbers)}"
        try:
            self._engine.add_request(name, tokens_input(list(request.prompt)), request.params)
        except ValueError as error:  # vLLM's own error of validation is one
            raise ModelError(f"vllm refuses a request: {error}") from error
        self._mail[name] = []
        return name

    def _step(self) -> None:
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            outputs = self._engine.step()
        except EngineDeadError as error:
            raise ModelError(
                "the processes of vllm have died; the reason is in what they printed above"
            ) from error
        for output in outputs:
            if output.request_id in self._mail:  # else it was aborted in the meantime
                self._mail[output.request_id].append(output)

    def _collect(self, name: str) -> list[Any]:
        found, self._mail[name] = self._mail[name], []
        return found

    def _abort(self, running: Mapping[str, int]) -> None:
        if not running:
            return
        with self._lock:
            for name in running:
                self._mail.pop(name, None)
            resources = getattr(self._engine.engine_core, "resources", None)  # of other processes
            if not getattr(resources, "engine_dead", False):
                self._engine.abort_request(list(running))
