"""How vLLM is told to write: the settings of `generate`, and the model's own, as `SamplingParams`."""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

from trimtab.engines.decoding import Settings, SpecialTokens
from trimtab.engines.ends import end_tokens
from trimtab.errors import ModelError

_MOST_TEMPERATURE = 2.0
_TOP_K = 50  # where neither the caller nor the model says: the default of transformers
# What a model may set for itself in transformers and vLLM knows nothing of; with the values that change nothing.
_WITHOUT_COUNTERPART: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("no_repeat_ngram_size", "encoder_no_repeat_ngram_size"), (None, 0)),
    **dict.fromkeys(("encoder_repetition_penalty", "guidance_scale", "typical_p"), (None, 1.0)),
    **dict.fromkeys(("epsilon_cutoff", "eta_cutoff"), (None, 0.0)),
    **dict.fromkeys(
        "bad_words_ids suppress_tokens begin_suppress_tokens forced_bos_token_id forced_eos_token_id sequence_bias "
        "exponential_decay_length_penalty top_h watermarking_config".split(),
        (None,),
    ),
}


@dataclass(frozen=True)
class ModelSettings:
    """The model's own generation settings, as far as they change what is written.

    `ends` are the tokens that end a response; `min_length` counts prompt and response, `min_new_tokens` the response.
    The repetition penalty holds also without sampling.
    """

    ends: tuple[int, ...]
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = _TOP_K
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    min_length: int = 0
    min_new_tokens: int = 0

    @classmethod
    def of(cls, generation: Any, tokenizer: Any, model: str) -> ModelSettings:
        """Reads them of a `GenerationConfig` as transformers would; warns of those that vLLM does not have."""
        ends = end_tokens(generation, tokenizer)
        ignored = [
            name
            for name, nothing in _WITHOUT_COUNTERPART.items()
            if getattr(generation, name, None) not in nothing
        ]
        if ignored:
            warnings.warn(
                f"the generation settings of {model} have {', '.join(ignored)}, which vllm does not: it writes without",
                stacklevel=2,
            )

        given: dict[str, Any] = {}
        for field in dataclasses.fields(cls)[1:]:
            value, kind = getattr(generation, field.name, None), type(field.default)
            if value is not None:
                given[field.name] = kind(value)  # type: ignore[misc]
        return cls(ends, **given)

    @property
    def special(self) -> SpecialTokens:
        """What ends a response; there is no padding."""
        return SpecialTokens(0, self.ends)


def check(settings: Settings) -> None:
    """Refuses, with a ModelError, what vLLM cannot do of valid settings."""
    if settings.num_beams > 1:
        raise ModelError(
            f"the vllm engine has no beam search, and num_beams is {settings.num_beams}; leave it out, or use the "
            "transformers engine"
        )
    if settings.temperature is not None and settings.temperature > _MOST_TEMPERATURE:
        raise ModelError(
            f"temperature is {settings.temperature}; vllm takes at most {_MOST_TEMPERATURE:g}, the transformers "
            "engine any"
        )


def sampling_params(
    settings: Settings, own: ModelSettings, prompt_tokens: int, seed: int | None, **more: Any
) -> Any:
    """The `vllm.SamplingParams` of one response: the settings of `generate`, and the model's own where they are silent.

    Without a seed, the numbers are vLLM's.
    """
    from vllm import SamplingParams

    fewest = max(own.min_new_tokens, own.min_length - prompt_tokens, 0)
    fields: dict[str, Any] = {
        "max_tokens": settings.max_new_tokens,
        "min_tokens": min(fewest, settings.max_new_tokens),
        "repetition_penalty": own.repetition_penalty,
        # Only what transformers takes for an end ends a response: vLLM may read another from the model's config.
        "ignore_eos": True,
        "stop_token_ids": list(own.ends),
        "detokenize": False,
        "temperature": 0.0,
    }
    if settings.do_sample:
        fields |= {
            "temperature": own.temperature if settings.temperature is None else settings.temperature,
            "top_p": own.top_p if settings.top_p is None else settings.top_p,
            "top_k": own.top_k if settings.top_k is None else settings.top_k,
            "min_p": own.min_p,
            "seed": seed,
        }
    return SamplingParams(**fields, **more)


def one_token(**more: Any) -> Any:
    """The `vllm.SamplingParams` of a request for what vLLM computes of a prompt: it always writes one token."""
    from vllm.sampling_params import RequestOutputKind

    from vllm import SamplingParams

    final = RequestOutputKind.FINAL_ONLY
    return SamplingParams(max_tokens=1, temperature=0.0, detokenize=False, output_kind=final, **more)


def seed_of(seed: int | None, row: int, sample: int) -> int | None:
    """The seed of one response: of equal prompts in a call, each is sampled in its own way."""
    if seed is None:
        return None
    digest = hashlib.sha256(f"{seed} {row} {sample}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2  # vLLM takes a signed one
