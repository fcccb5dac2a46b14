"""vLLM's routes: at which of them a request may choose a steering, and what vLLM cannot steer there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trimtab.serve.backend import Interface
from trimtab.serve.refusal import RefusedError

_RESPONSES = "/v1/responses"
_GENERATING = frozenset(
    {
        "/v1/chat/completions",
        "/v1/chat/completions/batch",
        "/v1/completions",
        "/v1/messages",
        _RESPONSES,
        "/invocations",
    }
)
_NAMING = frozenset({"/v1/messages/count_tokens", "/tokenize", "/detokenize"})
_TOKENS = "/inference/v1/generate"
"""Where tokens are sent, and a steering in the sampling parameters, which the frontend reads."""
_RENDERING = frozenset(
    {
        "/v1/chat/completions/render",
        "/v1/completions/render",
        "/v1/messages/render",
        "/v1/responses/render",
    }
)
"""Where a request is made one for `_TOKENS`, its `vllm_xargs` with it."""
_FALSE = ("", "0", "false", "f", "no", "n", "off", "none")


def _refuse(path: str, body: Mapping[str, Any]) -> None:
    if _is_true(body.get("use_beam_search")):
        raise RefusedError(
            "beam search cannot be steered on vLLM; use sampling, or leave the steering out",
            reason="beam_search",
            parameter="use_beam_search",
        )
    if path == _RESPONSES and _is_true(body.get("background")):
        raise RefusedError(
            "a response in the background cannot be steered: its steering could be unloaded before it is done; wait "
            "for the answer or stream it, or leave the steering out",
            reason="background",
            parameter="background",
        )


def _is_true(value: Any) -> bool:
    """As vLLM's own parser of booleans would read it; what it would not read is true."""
    return str(value).strip().lower() not in _FALSE


INTERFACE = Interface(
    generating=_GENERATING,
    naming=_NAMING,
    arguments_pass=_RENDERING,
    instead={
        _TOKENS: "write it into sampling_params.extra_args",
        **dict.fromkeys(_RENDERING, "write it into vllm_xargs"),
    },
    guarded=("/v1", "/v2", "/inference", "/cohere"),
    refuse=_refuse,
)
