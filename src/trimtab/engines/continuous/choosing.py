"""From the logits of a batch to a token for each row, each row by its own settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from trimtab.engines.constraining import Held, Matchers
from trimtab.engines.continuous.asks import Row
from trimtab.engines.decoding import PER_CALL, Settings
from trimtab.engines.finite import NotFiniteError, unsound
from trimtab.errors import is_out_of_memory

# Processors of transformers that do not look at what was written before: rows of one kind go through them together.
_BLIND = {
    "EpsilonLogitsWarper",
    "EtaLogitsWarper",
    "InfNanRemoveLogitsProcessor",
    "LogitNormalization",
    "MinPLogitsWarper",
    "SuppressTokensLogitsProcessor",
    "TemperatureLogitsWarper",
    "TopHLogitsWarper",
    "TopKLogitsWarper",
    "TopPLogitsWarper",
    "TypicalLogitsWarper",
}


@dataclass(frozen=True)
class Choice:
    """The token chosen for a row with its log-probability and the likeliest tokens, or what failed."""

    token: int = -1
    logprob: float | None = None
    top_logprobs: tuple[tuple[int, float], ...] = ()
    error: Exception | None = None


@dataclass(frozen=True, eq=False)
class _Processors:
    """What changes logits before a constraint does, and behind it."""

    before: tuple[Any, ...]
    behind: tuple[Any, ...]

    @property
    def is_blind(self) -> bool:
        return all(type(one).__name__ in _BLIND for one in (*self.before, *self.behind))


class Choosing:
    """Chooses tokens as `generate` of transformers would for each row alone, the model's own settings included."""

    def __init__(self, model: Any, matchers: Callable[[], Matchers], device: torch.device) -> None:
        self._model = model
        self._matchers = matchers
        self._device = device
        self._counts = any(getattr(model.generation_config, name, None) for name in PER_CALL)
        self._shared = lru_cache(maxsize=64)(self._made)

    def prepare(self, row: Row) -> None:
        """Before the first token of a row."""
        settings, length = row.ask.settings, len(row.ask.prompt_tokens)
        if not self._counts:
            alike = Settings(1, settings.do_sample, settings.temperature, settings.top_p, settings.top_k)
            shared = self._shared(alike, 1)
            if shared.is_blind:
                row.processors = shared
                return
        row.processors = self._made(settings, length)

    def choose(self, logits: Tensor, rows: Sequence[Row]) -> list[Choice]:
        """A token for each row, of logits `[rows, vocabulary]`."""
        try:
            return self._choose(logits, rows)
        except Exception as error:  # whatever fails for one row must not end the others
            if is_out_of_memory(error):
                raise
            if len(rows) == 1:
                return [Choice(error=error)]
            return [self.choose(logits[[place]], [row])[0] for place, row in enumerate(rows)]

    def _choose(self, logits: Tensor, rows: Sequence[Row]) -> list[Choice]:
        scores = logits.to(self._device, torch.float32, copy=True)
        if faults := unsound(scores).nonzero().flatten().tolist():
            raise NotFiniteError(faults)
        told = self._told(scores, rows)
        for group in _grouped(rows, lambda row: row.processors.before):
            scores = self._processed(scores, rows, group, rows[group[0]].processors.before)
        constrained = [place for place, row in enumerate(rows) if row.constraint is not None]
        if constrained:
            held = Held(self._matchers(), [rows[place].constraint for place in constrained])
            blank = torch.zeros(len(constrained), 1, dtype=torch.long)
            scores[constrained] = held(blank, scores[constrained])
            taken = [held.taken(number) or 0.0 for number in range(len(constrained))]
        for group in _grouped(rows, lambda row: row.processors.behind):
            scores = self._processed(scores, rows, group, rows[group[0]].processors.behind)
        tokens = scores.argmax(-1).tolist()
        sampled = [place for place, row in enumerate(rows) if row.ask.do_sample]
        if sampled:
            probabilities = (scores if len(sampled) == len(rows) else scores[sampled]).softmax(-1)
            # What fails, fails before a number is drawn: a second try draws the same ones.
            if not bool(probabilities.isfinite().all()):
                raise NotFiniteError(sampled)
            for place, own in zip(sampled, probabilities, strict=True):
                tokens[place] = rows[place].drawn(own)
        if constrained:
            for place, share in zip(constrained, taken, strict=True):
                rows[place].follow(tokens[place], share, self._matchers().ends)
        return [
            Choice(token, *told(place, token)) if told is not None else Choice(token)
            for place, token in enumerate(tokens)
        ]

    def _processed(
        self, scores: Tensor, rows: Sequence[Row], group: Sequence[int], processors: Sequence[Any]
    ) -> Tensor:
        ids = torch.tensor([rows[group[0]].text], device=self._device).expand(len(group), -1)
        everything = len(group) == len(rows)
        own = scores if everything else scores[list(group)]
        for processor in processors:
            own = processor(ids, own)
        if everything:
            return own
        scores[list(group)] = own
        return scores

    def _told(self, scores: Tensor, rows: Sequence[Row]) -> Any:
        wanting = [place for place, row in enumerate(rows) if row.ask.logprobs is not None]
        if not wanting:
            return None
        logprobs = (scores if len(wanting) == len(rows) else scores[wanting]).log_softmax(-1)
        most = min(max(rows[place].ask.logprobs or 0 for place in wanting), logprobs.shape[-1])
        values, tokens = logprobs.topk(most, dim=-1) if most else (None, None)
        numbers = {place: number for number, place in enumerate(wanting)}

        def tell(place: int, token: int) -> tuple[float | None, tuple[tuple[int, float], ...]]:
            if place not in numbers:
                return None, ()
            number, count = numbers[place], rows[place].ask.logprobs or 0
            top: tuple[tuple[int, float], ...] = ()
            if count and values is not None and tokens is not None:
                top = tuple(
                    zip(tokens[number, :count].tolist(), values[number, :count].tolist(), strict=True)
                )
            return float(logprobs[number, token]), top

        return tell

    def _made(self, settings: Settings, length: int) -> _Processors:
        """The processors that `generate` would make for a prompt of this length."""
        model = self._model
        options = settings.options() | {"max_new_tokens": settings.max_new_tokens}
        config, _ = model._prepare_generation_config(None, **options)
        model._prepare_special_tokens(config, True, device=self._device)
        config.max_length = length + settings.max_new_tokens
        made = model._get_logits_processor(
            generation_config=config,
            input_ids_seq_length=length,
            logits_processor=[_BETWEEN],
            device=self._device,
            model_kwargs={},
        )
        place = next(number for number, one in enumerate(made) if one is _BETWEEN)
        return _Processors(tuple(made[:place]), tuple(made[place + 1 :]))


def _between(ids: Tensor, scores: Tensor) -> Tensor:
    return scores


_BETWEEN: Any = _between  # marks where a constraint stands among the processors


def _grouped(rows: Sequence[Row], part: Callable[[Row], tuple[Any, ...]]) -> list[list[int]]:
    """The places of rows that go through the same processors at once."""
    groups: dict[tuple[int, int], list[int]] = {}
    for place, row in enumerate(rows):
        processors = part(row)
        if processors:
            own = 0 if row.processors.is_blind else place + 1
            groups.setdefault((id(processors), own), []).append(place)
    return list(groups.values())
