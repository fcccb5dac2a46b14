"""The engine over vLLM: every row a request with a steering of its own, all of them in one continuous batch."""

from __future__ import annotations

import math
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trimtab.engines.base import (
    Capture,
    Engine,
    Generation,
    Positions,
    Prompt,
)
from trimtab.engines.batching import check_batch_size
from trimtab.engines.capturing import CaptureStatistics
from trimtab.engines.constraining import Constraints, Matchers
from trimtab.engines.decoding import Settings
from trimtab.engines.encoding import Encoding, check_positions
from trimtab.engines.finite import UNSOUND, finite
from trimtab.engines.randomness import Randomness
from trimtab.errors import ModelError
from trimtab.progress import Progress, shown
from trimtab.thoughts import Reader, ThoughtFormat, named
from trimtab.vllm import constraining, reading, requesting, sampling
from trimtab.vllm.held_steerings import HeldSteerings
from trimtab.vllm.running import Requests
from trimtab.vllm.starting import shut_down, start

if TYPE_CHECKING:
    from trimtab.constraint import Constraint
    from trimtab.steering.steering import Steering


class VllmEngine(Engine):
    """Runs a causal language model on vLLM, in processes of its own, until it is closed.

    Args:
        model: `"nano"` (or `"nano-instruct"`, `"nano-base"`), a folder, the name of a model on the Hub, or a GGUF file,
            which vLLM is given as a folder in the user's cache (see `trimtab.engines.unpacking`).
        dtype: Of the weights: `"bfloat16"`, or `"auto"` for vLLM's choice. None chooses as
            the transformers engine does.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Run code that comes with the model.
        gates: How many gated edits a steering may have in one block. Additions are not limited.
        table_dtype: Of the steerings: `"auto"` takes that of the weights.
        record: Whether `capture` shall work. It costs a copy of the residual stream after every block, in memory
            (width x blocks x tokens of the largest step) and, where the stream is much of the work, in time.
        template_options: Variables of the chat template; see `trimtab.load`.
        gguf_file: The GGUF file in the folder, or the repository on the Hub.
        thoughts: How the model marks what it thinks before it answers: a format or its name (`trimtab.thoughts`); None
            for the one that it is known by.
        options: Anything else that `vllm.LLM` takes: `tensor_parallel_size`, `pipeline_parallel_size`,
            `distributed_executor_backend`, `max_model_len`, `max_num_seqs`, `enforce_eager`,
            `gpu_memory_utilization`, ...

    Attributes:
        tokenizer: The model's tokenizer, that of transformers.
        thoughts: What tells the model's answers from its thoughts.
        llm: The `vllm.LLM`.

    Raises:
        ModelError: vLLM is not installed, or cannot run the model with steering; the message says why.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        dtype: Any = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        gates: int = 4,
        table_dtype: str = "auto",
        record: bool = True,
        template_options: Mapping[str, Any] | None = None,
        gguf_file: str | None = None,
        thoughts: ThoughtFormat | str | None = None,
        **options: Any,
    ) -> None:
        settings: dict[str, Any] = {"gates": gates, "table_dtype": table_dtype, "record": record}
        settings["template_options"] = None if template_options is None else dict(template_options)
        thoughts = named(thoughts)
        if thoughts is not None:
            # Its workers know neither what is registered here nor packages of this machine.
            settings["thoughts"] = thoughts.to_dict()
        with_constraints = {**constraining.BACKEND, **options}
        started = start(model, settings, with_constraints, dtype, revision, trust_remote_code, gguf_file)
        self.llm: Any = started.llm
        self._end = weakref.finalize(self, shut_down, started.llm)  # at the latest when the interpreter ends
        self.tokenizer = started.tokenizer
        self.identity = started.frontend.identity
        config = self.llm.model_config
        self._limit = int(config.max_model_len)
        self.thoughts: Reader = Reader(self.tokenizer, thoughts)
        self._encoding = Encoding(self.tokenizer, self.identity.id, self._limit, self.thoughts)
        self._matchers: Matchers | None = None
        self._own = sampling.ModelSettings.of(started.generation, self.tokenizer, self.identity.id)
        self._generation = started.generation
        self._requests = Requests(self.llm.llm_engine)
        self._records = record
        self._steerings = HeldSteerings(
            self._rpc, gates=gates, dtype=started.frontend.settings.dtype(config.dtype)
        )
        self._reading = threading.RLock()  # the workers read one thing at a time

    def close(self) -> None:
        """Ends vLLM's processes. The engine is of no use then; closing it again changes nothing."""
        self.llm = None
        self._end()

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
        """Reads block outputs; see `Engine.capture`. All blocks are run, and one token is written and dropped.

        Raises:
            ModelError: Also if the engine was made with `record=False`.
        """
        rows = self._encoding.prompts(prompts, raw=raw)
        numbers = self.block_numbers(blocks)
        check_positions(positions, rows)
        check_batch_size(batch_size)
        total, width = self.identity.blocks, self.identity.width
        along = CaptureStatistics(numbers, total, width, directions, keep).directions
        if not self._records:
            raise ModelError(
                "this engine was made with record=False, so that it cannot capture; leave that out"
            )
        self._encoding.check(
            [len(row) + 1 for row in rows], "with the one that vllm always writes after it", self._limit
        )
        with self._reading, shown(progress) as tell:
            result = reading.captured(
                self._rpc,
                self._requests,
                rows,
                numbers,
                width,
                positions,
                along,
                keep=keep,
                at_once=batch_size,
                tell=tell,
            )
        expected = sum(len(row) for row in rows) if positions == "all" else len(rows)
        if result.count != expected:
            raise ModelError(f"vllm's workers read {result.count} vectors of {expected}; please report this")
        return finite(result, self.identity.id)

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
    ) -> list[Generation]:
        """Answers prompts; see `Engine.generate`.

        What is sampled with a seed depends on nothing else in the batch. Without a seed, the numbers are vLLM's own.
        `batch_size` is how many responses are under way at once; None leaves that to vLLM.

        Raises:
            ModelError: Also for beams, and for a temperature above 2, which vLLM does not have.
        """
        settings = Settings(
            max_new_tokens, do_sample, temperature, top_p, top_k, num_beams, num_return_sequences
        )
        sampling.check(settings)
        check_batch_size(batch_size)
        Randomness(seed)  # refuses a seed that is too large
        rows = self._encoding.prompts(prompts, max_new_tokens, raw=raw)
        held = constraining.checked(self.matchers, constraints, prompts, raw=raw)
        rows = self._encoding.begun(rows, [one is not None for one in held], max_new_tokens)
        acting = self._acting(steering, prompts, batch_size, raw)
        samples = num_return_sequences
        results: list[Generation | None] = [None] * (len(rows) * samples)
        with self._steerings.held(acting) as compositions, shown(progress) as tell:
            tell("writing", 0, len(rows))
            requests = [
                requesting.writing(
                    row,
                    compositions[number],
                    settings,
                    self._own,
                    sampling.seed_of(seed, number, sample),
                    held[number],
                )
                for number, row in enumerate(rows)
                for sample in range(samples)
            ]
            missing = [samples] * len(rows)
            under: dict[int, list[tuple[int, float]]] = {}
            for place, output in self._requests.outputs(requests, batch_size):
                number = place // samples
                written = self._own.special.cut(list(output.outputs[0].token_ids))
                results[place] = self._encoding.generation(
                    rows[number], number, written.token_ids, written.finished
                )
                if held[number] is not None:
                    under[place] = constraining.under_mask(output)
                missing[number] -= 1
                if not missing[number]:
                    tell("writing", missing.count(0), len(rows))
            asked = {place: rows[place // samples] for place in under}
            steered = {place: compositions[place // samples] for place in under}
            for place, share in reading.taken(self._requests, asked, steered, under, at_once=batch_size):
                one = results[place]
                results[place] = one and replace(one, taken=share)
        return [one for one in results if one is not None]

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
        """Answers one prompt piece by piece; see `Engine.stream`. Leaving it early ends the request."""
        settings = Settings(max_new_tokens, do_sample, temperature, top_p, top_k)
        sampling.check(settings)
        Randomness(seed)
        [row] = self._encoding.prompts([prompt], max_new_tokens, raw=raw)
        held = constraining.checked(self.matchers, constraint, [prompt], raw=raw)
        [row] = self._encoding.begun([row], [constraint is not None], max_new_tokens)
        acting = self._acting(steering, [prompt], None, raw)
        return self._encoding.pieces(
            row, self._tokens(row, acting, settings, sampling.seed_of(seed, 0, 0), held[0])
        )

    def _tokens(
        self,
        row: list[int],
        acting: list[Steering | None],
        settings: Settings,
        seed: int | None,
        held: Constraint | None,
    ) -> Iterator[int]:
        from vllm.sampling_params import RequestOutputKind

        with self._steerings.held(acting) as [composition]:
            request = requesting.writing(
                row, composition, settings, self._own, seed, held, RequestOutputKind.DELTA
            )
            with closing(self._requests.outputs([request])) as outputs:
                for _, output in outputs:
                    for token in output.outputs[0].token_ids:
                        if token in self._own.ends:
                            return
                        yield token

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
        """How unlikely responses are; see `Engine.score`."""
        rows = self._encoding.responses(prompts, responses, raw=raw)
        check_batch_size(batch_size)
        acting = self._acting(steering, prompts, batch_size, raw)
        results = [math.nan] * len(rows)
        scored = [number for number, row in enumerate(rows) if any(row.counted)]
        drafts = self.llm.llm_engine.vllm_config.speculative_config is not None
        if drafts:  # there has to be room for the token that vLLM writes
            self._encoding.check([len(row.tokens) + 1 for row in rows], "with its response and one more")
        with self._steerings.held(acting) as compositions, shown(progress) as tell:
            tell("scoring", 0, len(scored))
            found = reading.likelihoods(
                self._requests,
                [rows[number] for number in scored],
                [compositions[number] for number in scored],
                drafts=drafts,
                at_once=batch_size,
            )
            for done, (place, likely) in enumerate(found, 1):
                results[scored[place]] = -likely
                if math.isnan(results[scored[place]]):
                    raise ModelError(UNSOUND)
                tell("scoring", done, len(scored))
        return results

    def cache_key(self) -> dict[str, Any]:
        """What tells this engine's answers from those of others, beside its kind and identity; plain JSON."""
        import json

        import vllm

        config = self._running().llm_engine.vllm_config
        return {
            "vllm": vllm.__version__,
            "dtype": str(config.model_config.dtype),
            "tables": str(self._steerings.dtype),
            "weights": self._rpc("trimtab_fingerprint"),
            "generation": json.loads(json.dumps(self._generation.to_diff_dict(), default=str)),
        }

    @property
    def matchers(self) -> Matchers:
        """What compiles constraints for this model."""
        if self._matchers is None:
            width = int(self._running().model_config.get_vocab_size())
            self._matchers = Matchers(self.tokenizer, self._own.ends, width, self.identity.id)
        return self._matchers

    def _acting(
        self,
        steering: Steering | Sequence[Steering | None] | None,
        prompts: Sequence[Prompt],
        batch_size: int | None,
        raw: bool,
    ) -> list[Steering | None]:
        self._running()
        acting = self.decided(steering, prompts, batch_size=batch_size, raw=raw)
        self._steerings.check(acting)
        return acting

    def _rpc(self, method: str, *arguments: Any) -> list[Any]:
        return list(self._running().collective_rpc(method, args=arguments))

    def _running(self) -> Any:
        if self.llm is None:
            raise ModelError("this engine is closed; make a new one")
        return self.llm
