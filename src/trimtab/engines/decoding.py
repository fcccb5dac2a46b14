"""Writing tokens: `generate` of transformers, in short stretches so that finished rows can leave the batch.

Between two stretches the key/value cache is kept, so nothing is computed twice, while rows that are done stop
costing anything. A stretch of one token is how a response is streamed.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from trimtab import arguments
from trimtab.engines.attention import quick_attention
from trimtab.engines.constraining import Held
from trimtab.engines.ends import end_tokens
from trimtab.engines.finite import NotFiniteError, Watch
from trimtab.engines.padding import left_padded
from trimtab.engines.randomness import Randomness
from trimtab.errors import ModelError
from trimtab.steering.blocks import DecoderBlocks
from trimtab.steering.edits import Edit
from trimtab.steering.hooks import Steered
from trimtab.thoughts import Reader

_STRETCH = 16
# Generation settings of a model that count from the start of a call: with one of them, a response is one stretch.
PER_CALL = (
    "min_length",
    "min_new_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "begin_suppress_tokens",
    "exponential_decay_length_penalty",
    "max_time",
)


@dataclass(frozen=True)
class Settings:
    """How to generate; the fields are the arguments of `Engine.generate`."""

    max_new_tokens: int = 256
    do_sample: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    num_beams: int = 1
    num_return_sequences: int = 1
    use_cache: bool = True

    def __post_init__(self) -> None:
        arguments.flag(self.do_sample, "do_sample", ModelError)
        arguments.flag(self.use_cache, "use_cache", ModelError)
        for name in ("max_new_tokens", "num_beams", "num_return_sequences"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ModelError(f"{name} must be a whole number, 1 or more, not {value!r:.60}")
            if value < 1:
                raise ModelError(f"{name} is {value}; it must be at least 1")
        if not self.do_sample and self.num_return_sequences > self.num_beams:
            raise ModelError(
                f"{self.num_return_sequences} responses per prompt need do_sample=True or num_beams of at least as "
                "many: without sampling they would all be the same"
            )
        if self.num_return_sequences > self.num_beams > 1:
            raise ModelError(
                f"{self.num_beams} beams cannot give {self.num_return_sequences} responses; use as many beams, or one "
                "beam to sample without them"
            )
        given = [name for name in ("temperature", "top_p", "top_k") if getattr(self, name) is not None]
        if given and not self.do_sample:
            raise ModelError(f"{' and '.join(given)} set how to sample; say do_sample=True, or leave it out")
        for name in given:
            value = getattr(self, name)
            if not isinstance(value, int if name == "top_k" else int | float) or isinstance(value, bool):
                wanted = "a whole number" if name == "top_k" else "a number"
                raise ModelError(f"{name} must be {wanted}, not {value!r:.60}")
        if self.temperature is not None and not 0 < self.temperature < math.inf:
            raise ModelError(
                f"temperature is {self.temperature}; it must be above 0 (for greedy, do_sample=False) and finite"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ModelError(f"top_p is {self.top_p}; it must be above 0 and at most 1")
        if self.top_k is not None and self.top_k < 0:
            raise ModelError(f"top_k is {self.top_k}; it must be at least 1, or 0 for all tokens")

    @property
    def rows_per_prompt(self) -> int:
        """How many rows of a batch one prompt takes."""
        return max(self.num_beams, self.num_return_sequences)

    def options(self) -> dict[str, Any]:
        """The arguments for `generate`; what is None stays the model's own default."""
        options: dict[str, Any] = {
            "do_sample": self.do_sample,
            "num_beams": self.num_beams,
            "num_return_sequences": self.num_return_sequences,
            "use_cache": self.use_cache,
            # What a model may set for itself, but must not here: another kind of cache cannot be continued, compiled
            # code would not see hooks that come and go, and only end tokens end a response.
            "cache_implementation": None,
            "disable_compile": True,
            "stop_strings": None,
            # It would hide what is not finite, which is refused.
            "remove_invalid_values": False,
        }
        if self.do_sample:
            given = {"temperature": self.temperature, "top_p": self.top_p, "top_k": self.top_k}
            options |= {name: value for name, value in given.items() if value is not None}
            options |= {name: float(options[name]) for name in ("temperature", "top_p") if name in options}
        return options


@dataclass(frozen=True)
class Written:
    """The tokens of one response, whether the model ended it, and what a constraint took (see `Generation`)."""

    token_ids: tuple[int, ...]
    finished: bool
    taken: float | None = None


@dataclass(frozen=True)
class SpecialTokens:
    """What fills a batch up, and what ends a response."""

    pad: int
    ends: tuple[int, ...]

    @classmethod
    def of(cls, model: Any, tokenizer: Any) -> SpecialTokens:
        """Those of a model of transformers and its tokenizer."""
        ends = end_tokens(model.generation_config, tokenizer)
        candidates = (tokenizer.pad_token_id, model.generation_config.pad_token_id, *ends, 0)
        # Some models name a pad token that they have no embedding for, -1 or one past the last.
        known = range(len(model.get_input_embeddings().weight))
        return cls(next(token for token in candidates if token in known), ends)

    def cut(self, tokens: list[int]) -> Written:
        """A response without its end token and what follows."""
        end = next((place for place, token in enumerate(tokens) if token in self.ends), None)
        return Written(tuple(tokens[:end]), end is not None)


class Writer:
    """Runs one batch of prompts on a causal language model of transformers; `device` is where that takes its inputs.

    `thoughts` tells its answers from what it thinks, for edits of the answer alone.
    """

    def __init__(
        self,
        model: Any,
        place: DecoderBlocks,
        tokens: SpecialTokens,
        device: torch.device,
        thoughts: Reader | None = None,
    ) -> None:
        self._model = model
        self._thoughts = thoughts
        self._place = place
        self._tokens = tokens
        self._device = device
        # Models with another kind of state can't go on from what an earlier call left.
        self._continues = "past_key_values" in inspect.signature(model.forward).parameters
        self._in_stretches = not any(getattr(model.generation_config, name, None) for name in PER_CALL)

    def write(
        self,
        prompts: Sequence[Sequence[int]],
        edits: Sequence[Sequence[Edit]],
        settings: Settings,
        held: Held | None = None,
        told: Callable[[int], None] | None = None,
    ) -> list[list[Written]]:
        """The responses to each prompt of a batch, given as token ids; `held` has one row for each response.

        `told` is told how many tokens of each there are, now and then.

        Raises:
            NotFiniteError: The model gives logits that are not finite; its rows are prompts of the batch.
        """
        ids, mask = left_padded(prompts, self._tokens.pad, self._device)
        width, per_prompt = ids.shape[1], settings.num_return_sequences
        limit = settings.max_new_tokens
        stretched = (
            self._continues
            and self._in_stretches
            and settings.use_cache
            and settings.num_beams == 1
            and len(prompts) * per_prompt > 1
        )
        steered = self._steered(edits, [len(row) for row in prompts])
        first = min(limit, _STRETCH) if stretched else limit
        owners = [prompt for prompt in range(len(prompts)) for _ in range(settings.rows_per_prompt)]
        out = self._generate(ids, mask, None, steered, settings, first, held, owners)
        texts: list[list[int]] = out.sequences[:, width:].tolist()
        if not stretched:
            return self._written(texts, per_prompt, held)

        cache = out.past_key_values
        # The states of linear attention can't be selected by row: there, rows that are done stay.
        selects = hasattr(cache, "batch_select_indices") and all(
            hasattr(layer, "batch_select_indices") for layer in getattr(cache, "layers", ())
        )
        alive = list(range(len(texts)))  # rows of the batch, by their number at the start
        ids, mask = out.sequences, mask.repeat_interleave(per_prompt, dim=0)
        settings = Settings(**{**vars(settings), "num_return_sequences": 1})
        while ids.shape[1] - width < limit:
            if told is not None:
                told(ids.shape[1] - width)
            going = [place for place, row in enumerate(alive) if not self._tokens.cut(texts[row]).finished]
            if not going:
                break
            if selects and len(going) < len(alive):
                alive = [alive[place] for place in going]
                kept = torch.tensor(going)  # on the CPU, it can index a cache that is spread over devices
                ids, mask = ids[kept], mask[kept]
                cache.batch_select_indices(kept)
                if held is not None:
                    held.keep(going)
                lengths = [len(prompts[row // per_prompt]) for row in alive]
                steered = self._steered([edits[row // per_prompt] for row in alive], lengths)
            written = ids.shape[1]
            mask = torch.nn.functional.pad(mask, (0, written - mask.shape[1]), value=1)
            more_tokens = min(limit + width - written, _STRETCH)
            owners = [row // per_prompt for row in alive]
            out = self._generate(ids, mask, cache, steered, settings, more_tokens, held, owners)
            ids = out.sequences
            for row, more in zip(alive, ids[:, written:].tolist(), strict=True):
                texts[row] += more
        return self._written(texts, per_prompt, held)

    def tokens(
        self,
        prompt: Sequence[int],
        edits: Sequence[Edit],
        settings: Settings,
        random: Randomness,
        lock: Any,
        held: Held | None = None,
    ) -> Iterator[int]:
        """The tokens of one response as they come, the end token left out; the model is free in between.

        Raises:
            NotFiniteError: The model gives logits that are not finite.
        """
        ids, mask = left_padded([prompt], self._tokens.pad, self._device)
        steered = self._steered([edits], [len(prompt)])
        if not self._in_stretches:
            with lock, random():
                out = self._generate(ids, mask, None, steered, settings, settings.max_new_tokens, held)
            yield from self._tokens.cut(out.sequences[0, ids.shape[1] :].tolist()).token_ids
            return
        cache = None
        for _ in range(settings.max_new_tokens):
            with lock, random():
                out = self._generate(ids, mask, cache, steered, settings, 1, held)
            cache = out.past_key_values if self._continues else None
            ids, mask = out.sequences, torch.nn.functional.pad(mask, (0, 1), value=1)
            token = int(ids[0, -1])
            if token in self._tokens.ends:
                return
            yield token

    def _steered(self, edits: Sequence[Sequence[Edit]], lengths: Sequence[int]) -> Steered:
        return Steered(self._place, edits, lengths, thoughts=self._thoughts, writer=self._model)

    def _written(self, texts: list[list[int]], per_prompt: int, held: Held | None) -> list[list[Written]]:
        written = [self._tokens.cut(text) for text in texts]
        if held is not None:
            written = [replace(one, taken=held.taken(row)) for row, one in enumerate(written)]
        return [written[start : start + per_prompt] for start in range(0, len(written), per_prompt)]

    def _generate(
        self,
        ids: Tensor,
        mask: Tensor,
        cache: Any,
        steered: Steered,
        settings: Settings,
        new_tokens: int,
        held: Held | None,
        owners: Sequence[int] = (0,),
    ) -> Any:
        quick = quick_attention(self._device)
        watch = Watch()
        with torch.inference_mode(), steered, quick:
            out = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=new_tokens,
                pad_token_id=self._tokens.pad,
                eos_token_id=list(self._tokens.ends) or None,
                return_dict_in_generate=True,
                **({} if cache is None else {"past_key_values": cache}),
                logits_processor=[watch] if held is None else [watch, held],
                **settings.options(),
            )
        if rows := watch.rows():
            raise NotFiniteError([owners[row] for row in rows])
        return out
