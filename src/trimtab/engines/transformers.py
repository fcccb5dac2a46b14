"""The default engine: any causal language model of transformers, run as it is, with hooks on its decoder blocks."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from trimtab.engines.base import Capture, Engine, Generation, Positions, Prompt
from trimtab.engines.batching import length_batches, memory_budget, run_batches
from trimtab.engines.capturing import CaptureStatistics, picked
from trimtab.engines.chat import beginning
from trimtab.engines.constraining import Constraints, Matchers, Start, constraints_of_rows, held
from trimtab.engines.continuous.cache import keeps_phase
from trimtab.engines.decoding import Settings, SpecialTokens
from trimtab.engines.encoding import Encoding, check_positions
from trimtab.engines.finite import cause_named, finite
from trimtab.engines.footprint import Footprint
from trimtab.engines.given import prompt_list
from trimtab.engines.likelihood import Likelihood, in_one_pass
from trimtab.engines.padding import left_padded, position_argument
from trimtab.engines.randomness import Randomness
from trimtab.engines.writing import STAGE, write, writer_of
from trimtab.errors import ModelError
from trimtab.progress import Progress, shown
from trimtab.steering.blocks import find_decoder_blocks
from trimtab.steering.held import rows_of
from trimtab.steering.hooked import owner_of
from trimtab.steering.hooks import Steered
from trimtab.steering.identity import model_identity
from trimtab.steering.phases import PromptLengths, row_lengths
from trimtab.steering.reading import reading
from trimtab.steering.weights import weights_digest
from trimtab.thoughts import Reader, ThoughtFormat

if TYPE_CHECKING:
    from trimtab.constraint import Constraint
    from trimtab.steering.steering import Steering

# Generation settings of a model that only a whole call of transformers' `generate` can follow.
_WHOLE_CALLS = (
    "max_time",
    "guidance_scale",
    "watermarking_config",
    "prompt_lookup_num_tokens",
    "penalty_alpha",
)
_locks: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()
_making = threading.Lock()


def _lock_of(model: Any) -> threading.RLock:
    with _making:
        return _locks.setdefault(model, threading.RLock())


class TransformersEngine(Engine):
    """Runs a causal language model of transformers.

    Args:
        model: The model, with its weights where they shall stay; it is put into evaluation mode.
        tokenizer: Its tokenizer.
        model_id: What to call it in records; None takes the name it was loaded from.
        revision: The commit of its repository; None takes what the model's config knows.
        decoder_blocks: Where its decoder blocks are (`"model.layers"`); None searches.
        thoughts: How it marks what it thinks before it answers: a format or its name (`trimtab.thoughts`); None for the
            one that it is known by.

    Attributes:
        thoughts: What tells its answers from its thoughts.
        encoding: Text to tokens and back.
        special_tokens: What fills a batch up, and what ends a response.
        lock: Held while the model runs: its hooks are the model's, and two calls at once would steer each other. All
            engines of a model have the same.

    Raises:
        ModelError: If it is no causal language model, or its decoder blocks are not found.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        model_id: str | None = None,
        revision: str | None = None,
        decoder_blocks: str | None = None,
        thoughts: ThoughtFormat | str | None = None,
    ) -> None:
        if getattr(model.config, "is_encoder_decoder", False) or not model.can_generate():
            raise ModelError(
                f"{type(model).__name__} is no causal language model: it has no text to go on writing"
            )
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.decoder_blocks = find_decoder_blocks(model, decoder_blocks)
        self._config = model.config.get_text_config()
        self._width = int(self._config.hidden_size)
        self.identity = model_identity(
            model.config,
            tokenizer,
            blocks=len(self.decoder_blocks.blocks),
            model_id=model_id,
            revision=revision,
            weights=weights_digest(model, self.decoder_blocks.blocks),
        )
        limit = getattr(self._config, "max_position_embeddings", None)
        self.thoughts: Reader = Reader(tokenizer, thoughts)
        known = len(model.get_input_embeddings().weight)
        self.encoding = Encoding(tokenizer, self.identity.id, limit, self.thoughts, known)
        self.special_tokens = SpecialTokens.of(model, tokenizer)
        width = int(self._config.vocab_size)
        self._matchers = Matchers(tokenizer, self.special_tokens.ends, width, self.identity.id)
        self._bytes = Footprint.of(model, len(self.decoder_blocks.blocks))
        self.lock = _lock_of(model)

    @property
    def device(self) -> torch.device:
        """Where the model takes its inputs."""
        weight = self.model.get_input_embeddings().weight
        return torch.device(self.model.device if weight.device.type == "meta" else weight.device)

    @property
    def _devices(self) -> set[torch.device]:
        return {weight.device for weight in self.model.parameters()}

    def steered(
        self,
        steering: Steering | Sequence[Steering | None] | None,
        prompt_lengths: PromptLengths | None = None,
        prompts: Sequence[Prompt] | None = None,
    ) -> Steered:
        """A context in which every forward pass of `model`, whoever runs it, is steered; see `trimtab.on`.

        Args:
            steering: What to apply: one for all rows, or one (or None) for each.
            prompt_lengths: As for `trimtab.on`.
            prompts: The prompt of each row, on which conditions are decided, once and now; None where there are none.

        Raises:
            SteeringError: If it was made for another model, or has a condition and there are no prompts.
        """
        count = len(rows_of(steering)) if prompts is None else len(prompts := prompt_list(prompts))
        edits = self.edits_of_rows(steering, count, prompts)
        lengths = row_lengths(prompt_lengths)
        return Steered(self.decoder_blocks, edits, lengths, model=self.model, thoughts=self.thoughts)

    def capture(
        self,
        prompts: Sequence[Prompt],
        *,
        blocks: Sequence[int] | None = None,
        positions: Positions = "last",
        directions: Tensor | None = None,
        keep: bool = False,
        batch_size: int | None = None,
        raw: bool = False,
        progress: Progress = False,
    ) -> Capture:
        """Reads block outputs; see `Engine.capture`. Blocks above the highest wanted one are not run."""
        rows = self.encoding.prompts(prompts, raw=raw)
        wanted = self.block_numbers(blocks)
        check_positions(positions, rows)
        statistics = CaptureStatistics(wanted, self.identity.blocks, self._width, directions, keep)
        extra = position_argument(self.decoder_blocks.decoder)

        def run(batch: list[int]) -> CaptureStatistics:
            ids, mask = left_padded([rows[row] for row in batch], self.special_tokens.pad, self.device)
            counts = [len(rows[row]) if positions == "all" else 1 for row in batch]
            part = statistics.empty()

            def read(block: int, hidden: Tensor) -> None:
                part.add(block, picked(hidden, mask.to(hidden.device).bool(), positions), batch, counts)

            with self.lock, torch.inference_mode(), reading(self.decoder_blocks, wanted, read) as decoder:
                decoder(input_ids=ids, attention_mask=mask, use_cache=False, **extra(mask))
            return part

        batches = self._batches(
            [len(row) for row in rows], batch_size, lambda tokens: tokens * self._bytes.activations
        )
        for _, part in run_batches(batches, run, progress=progress, stage="reading"):
            statistics.merge(part)
        return finite(statistics.result(), self.identity.id)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        steering: Steering | Sequence[Steering | None] | None = None,
        constraints: Constraints = None,
        max_new_tokens: int = 256,
        do_sample: bool = False,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        num_beams: int = 1,
        num_return_sequences: int = 1,
        seed: int | None = None,
        batch_size: int | None = None,
        raw: bool = False,
        progress: Progress = False,
        use_cache: bool = True,
    ) -> list[Generation]:
        """Answers prompts; see `Engine.generate`.

        `use_cache=False` computes every token anew from the whole text: slow, with the same result.
        """
        settings = Settings(
            max_new_tokens, do_sample, temperature, top_p, top_k, num_beams, num_return_sequences, use_cache
        )
        rows = self.encoding.prompts(prompts, max_new_tokens, raw=raw)
        starts = self._matchers_of_rows(constraints, prompts, settings, raw)
        rows = self.encoding.begun(rows, [start is not None for start in starts], max_new_tokens)
        edits = self.edits_of_rows(steering, len(rows), prompts, batch_size=batch_size, raw=raw)
        random = Randomness(seed, self._devices)

        def row_bytes(tokens: int) -> int:
            kept = (tokens + max_new_tokens) * self._bytes.cache + 4 * self._bytes.logits
            return settings.rows_per_prompt * (kept + tokens * self._bytes.activations)

        batches = self._batches([len(row) for row in rows], batch_size, row_bytes)
        with shown(progress) as tell:
            if self._joins_rows(settings, len(rows)):
                from trimtab.engines.continuous import writing

                told = partial(tell, STAGE)
                single = writing.write(self, rows, edits, starts, max_new_tokens, len(batches[0]), told)
                written = [[one] for one in single]
            else:
                written = write(self, rows, edits, starts, settings, random, batches, tell)
        return [
            self.encoding.generation(rows[row], row, one.token_ids, one.finished, one.taken)
            for row, answers in enumerate(written)
            for one in answers
        ]

    def stream(
        self,
        prompt: Prompt,
        *,
        steering: Steering | None = None,
        constraint: Constraint | None = None,
        max_new_tokens: int = 256,
        do_sample: bool = False,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        raw: bool = False,
    ) -> Iterator[str]:
        """Answers one prompt piece by piece; see `Engine.stream`."""
        settings = Settings(max_new_tokens, do_sample, temperature, top_p, top_k)
        [row] = self.encoding.prompts([prompt], max_new_tokens, raw=raw)
        starts = self._matchers_of_rows([constraint], [prompt], settings, raw)
        [row] = self.encoding.begun([row], [constraint is not None], max_new_tokens)
        hold = held(self.matchers, starts)
        [edits] = self.edits_of_rows(steering, 1, [prompt], raw=raw)
        random = Randomness(seed, self._devices)
        tokens = writer_of(self).tokens(row, edits, settings, random, self.lock, hold)

        def sound() -> Iterator[int]:
            with cause_named(self, [0], [edits]):
                yield from tokens

        return self.encoding.pieces(row, sound())

    def score(
        self,
        prompts: Sequence[Prompt],
        responses: Sequence[str | Sequence[int]],
        *,
        steering: Steering | Sequence[Steering | None] | None = None,
        batch_size: int | None = None,
        raw: bool = False,
        progress: Progress = False,
    ) -> list[float]:
        """How unlikely responses are; see `Engine.score`. The head is run on the responses only where it can be."""
        rows = self.encoding.responses(prompts, responses, raw=raw)
        edits = self.edits_of_rows(steering, len(rows), prompts, batch_size=batch_size, raw=raw)
        results = [math.nan] * len(rows)
        groups = in_one_pass(rows, edits)
        pad = self.special_tokens.pad
        likelihood = Likelihood(self.model, self.decoder_blocks, pad, self.device, self.thoughts)

        def run(batch: list[int]) -> list[list[float]]:
            firsts = [groups[place][0] for place in batch]
            own = [edits[row] for row in firsts]
            with self.lock, cause_named(self, firsts, own):
                return likelihood.losses([[rows[row] for row in groups[place]] for place in batch], own)

        batches = self._batches(
            [len(rows[group[0]].tokens) for group in groups],
            batch_size,
            lambda tokens: tokens * (self._bytes.activations + 2 * self._bytes.logits),
        )
        for batch, found in run_batches(batches, run, progress=progress, stage="scoring"):
            for place, losses in zip(batch, found, strict=True):
                for row, loss in zip(groups[place], losses, strict=True):
                    results[row] = loss
        return results

    @property
    def matchers(self) -> Matchers:
        """What compiles constraints for this model."""
        return self._matchers

    def _matchers_of_rows(
        self, constraints: Constraints, prompts: Sequence[Prompt], settings: Settings, raw: bool
    ) -> list[Start | None]:
        """What holds the answer to each prompt, behind the beginning that this gives it; None where nothing does."""
        wanted = constraints_of_rows(constraints, len(prompts))
        if settings.num_beams > 1 and any(one is not None for one in wanted):
            raise ModelError(
                "beams cannot be held to a constraint; use num_beams=1, or leave constraints out"
            )
        return [
            None
            if one is None
            else Start(self._matchers.matcher(one, "" if raw else beginning(prompt)), one.other_case)
            for one, prompt in zip(wanted, prompts, strict=True)
        ]

    def _joins_rows(self, settings: Settings, count: int) -> bool:
        """Whether answers are written by the running batch: where that gives what `generate` of transformers does.

        Samples are not: they come from the numbers of the whole batch. Nor are answers inside a context that steers
        the model, which may know the batch as it was given.
        """
        own = self.model.generation_config
        return (
            count > 1
            and not settings.do_sample
            and settings.num_beams == 1
            and settings.use_cache
            and not any(getattr(own, name, None) for name in _WHOLE_CALLS)
            and owner_of(self.decoder_blocks.decoder) is None
            and not keeps_phase(self.model)
        )

    def _batches(
        self, lengths: Sequence[int], batch_size: int | None, row_bytes: Callable[[int], int]
    ) -> list[list[int]]:
        budget = memory_budget(self.device)
        return length_batches(lengths, batch_size=batch_size, row_bytes=row_bytes, budget=budget)
