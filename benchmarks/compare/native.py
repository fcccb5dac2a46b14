"""Another library's own code, in the place of the engine's steering."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

from trimtab.engines.base import Capture, Engine, Generation, Prompt

Native = Callable[[], AbstractContextManager[Any]]
"""Makes a context in which another library's code changes the model."""


class NativeEngine(Engine):
    """The plain engine, except that another library's code changes the model while it generates.

    Scores stay those of the unchanged model, as they are for every method.

    Args:
        engine: The engine.
        native: Entered for the time of each generation.
    """

    def __init__(self, engine: Engine, native: Callable[[], AbstractContextManager[Any]]) -> None:
        self.engine = engine
        self.native = native
        self.identity = engine.identity

    def generate(self, prompts: Sequence[Prompt], **options: Any) -> list[Generation]:
        """As the engine, under the other library's code."""
        with self.native():
            return self.engine.generate(prompts, **options)

    def stream(self, prompt: Prompt, **options: Any) -> Iterator[str]:
        """As the engine, under the other library's code until the last piece is taken."""
        with self.native():
            yield from self.engine.stream(prompt, **options)

    def capture(self, prompts: Sequence[Prompt], **options: Any) -> Capture:
        """As the engine."""
        return self.engine.capture(prompts, **options)

    def score(self, prompts: Sequence[Prompt], responses: Sequence[Any], **options: Any) -> list[float]:
        """As the engine."""
        return self.engine.score(prompts, responses, **options)
