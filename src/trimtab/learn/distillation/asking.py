"""Asking a model for answers: those it gives greedily are asked for once, and shared by several processes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trimtab.engines.chat import prompt_ids
from trimtab.engines.ranks import Ranks
from trimtab.progress import Tell, silent

if TYPE_CHECKING:
    from trimtab.constraint import Constraint
    from trimtab.engines.base import Generation, Prompt
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.steering.steering import Steering

_GROUP = 32  # rows that are sampled together: fixed, so that any number of processes samples the same answers


class Asking:
    """Asks one model, and keeps its greedy answers.

    Args:
        engine: The model.
        max_new_tokens: Longest answer, in tokens.
        ranks: The processes that share the work; all call alike, and all get every answer.

    Attributes:
        tell: Told how far it is.
    """

    tell: Tell = staticmethod(silent)

    def __init__(self, engine: TransformersEngine, max_new_tokens: int, ranks: Ranks | None = None) -> None:
        self.engine = engine
        self.max_new_tokens = max_new_tokens
        self.ranks = ranks or Ranks()
        self._known: dict[Any, Generation] = {}

    def lengthen(self, max_new_tokens: int) -> None:
        """Another limit from now on; answers that the old one cut off are forgotten."""
        if max_new_tokens == self.max_new_tokens:
            return
        self.max_new_tokens = max_new_tokens
        self._known = {key: one for key, one in self._known.items() if one.finished}

    def greedily(
        self,
        prompts: Sequence[Prompt],
        *,
        constraints: Sequence[Constraint | None] | None = None,
        steering: Steering | None = None,
    ) -> list[Generation]:
        """One greedy answer per prompt, in order; what was answered before is not asked again."""
        held = [None] * len(prompts) if constraints is None else list(constraints)
        digest = None if steering is None else steering.digest()
        keys = [(repr(prompt), one, digest) for prompt, one in zip(prompts, held, strict=True)]
        new = list({key: row for row, key in enumerate(keys) if key not in self._known}.values())
        mine: dict[int, Generation] = {}
        if share := self.ranks.share(new):
            rows = [prompts[row] for row in share]
            answers = self._generate(rows, [held[row] for row in share], steering=steering)
            mine = dict(zip(share, answers, strict=True))
        self._known |= {keys[row]: one for row, one in self.ranks.merge(mine).items()}
        return [self._known[key] for key in keys]

    def thoughts(self, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
        """What the model writes before it answers each prompt, as tokens.

        Where it does not come to an answer, that is what has to stand there for the answer to begin.
        """
        reader = self.engine.thoughts
        if reader.is_trivial or not prompts:
            return [()] * len(prompts)
        return [
            one.token_ids[: one.begins]
            if one.answer_ids
            else tuple(reader.lead(prompt_ids(self.engine.tokenizer, prompt)))
            for prompt, one in zip(prompts, self.greedily(prompts), strict=True)
        ]

    def sampled(
        self,
        prompts: Sequence[Prompt],
        temperature: float,
        seed: int,
        *,
        constraints: Sequence[Constraint | None] | None = None,
        steering: Steering | None = None,
    ) -> list[Generation]:
        """One sampled answer per prompt, in order."""
        held = [None] * len(prompts) if constraints is None else list(constraints)
        groups = [range(start, min(start + _GROUP, len(prompts))) for start in range(0, len(prompts), _GROUP)]
        mine: dict[int, list[Generation]] = {}
        for number in self.ranks.share(range(len(groups))):
            mine[number] = self._generate(
                [prompts[row] for row in groups[number]],
                [held[row] for row in groups[number]],
                steering=steering,
                seed=seed * 10_007 + number,
                do_sample=True,
                temperature=temperature,
            )
        everyone = self.ranks.merge(mine)
        return [generation for number in range(len(groups)) for generation in everyone[number]]

    def _generate(
        self, prompts: Sequence[Prompt], held: Sequence[Constraint | None], **settings: Any
    ) -> list[Generation]:
        if any(one is not None for one in held):
            settings["constraints"] = held
        if self.tell is not silent:
            settings["progress"] = self.tell
        return self.engine.generate(prompts, max_new_tokens=self.max_new_tokens, **settings)
