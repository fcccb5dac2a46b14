"""A tiny model whose answers are given by a function: a test says what the teacher follows, and all else is real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.tiny import VOCABULARY, tiny_model, tiny_tokenizer

from trimtab.engines.base import Generation
from trimtab.engines.transformers import TransformersEngine

QUERIES = [f"what is the {noun}" for noun in ("river", "city", "sea", "moon", "road", "hill", "wood", "fire")]
HELD_OUT = ["who is here", "who is there"]


@dataclass(frozen=True)
class Asked:
    """One prompt that was answered: how often before, at what temperature, whether steered, whether constrained."""

    prompt: str
    before: int
    temperature: float
    steered: bool
    held: bool = False

    @property
    def is_bare(self) -> bool:
        return self.prompt in QUERIES or self.prompt in HELD_OUT


def obedient(asked: Asked) -> str | None:
    """No commas if told anything, or steered."""
    return "quite so" if asked.steered or not asked.is_bare else "quite, so"


class Scripted(TransformersEngine):
    """A tiny Llama; `answer` gives its answers, None for one that does not come to its end."""

    def __init__(
        self, answer: Callable[[Asked], str | None] = obedient, *, tokenizer: Any = None, thoughts: Any = None
    ) -> None:
        tokenizer = tokenizer or tiny_tokenizer()
        model = tiny_model("llama", max_position_embeddings=2048, vocab_size=max(VOCABULARY, len(tokenizer)))
        super().__init__(model, tokenizer, model_id="tiny-scripted", thoughts=thoughts)
        self.answer = answer
        self.asked: list[Asked] = []
        self.unfinished = "well, and"

    def generate(self, prompts: Sequence[Any], *, steering: Any = None, **settings: Any) -> list[Generation]:
        answers = []
        steered = steering if isinstance(steering, list) else [steering] * len(prompts)
        for row, prompt in enumerate(prompts):
            before = sum(one.prompt == prompt for one in self.asked)
            temperature = settings.get("temperature") or 0.0
            assert bool(temperature) == settings.get("do_sample", False)
            held = (settings.get("constraints") or [None] * len(prompts))[row] is not None
            one = Asked(prompt, before, temperature, steered[row] is not None, held)
            self.asked.append(one)
            text = self.answer(one)
            said = text or self.unfinished
            ids = tuple(self.tokenizer(said)["input_ids"])
            [start] = self.encoding.begun(self.encoding.prompts([prompt]), [held], 0)
            answers.append(self.encoding.generation(start, row, ids, text is not None))
        return answers
