"""Beam search drops what a request says beside vLLM's own options, so it is refused where it was to be steered."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

from trimtab.serve.expressions import ASKED

_REQUESTS = (
    ("vllm.entrypoints.openai.chat_completion.protocol", "ChatCompletionRequest"),
    ("vllm.entrypoints.openai.completion.protocol", "CompletionRequest"),
)


def refuse_beams() -> None:
    """Wraps the requests of the server that this process is; where it is none, nothing. Again changes nothing."""
    for module, name in _REQUESTS:
        request = getattr(sys.modules.get(module), name, None)
        if hasattr(request, "to_beam_search_params"):
            _wrap(request)


def _wrap(request: Any) -> None:
    original = request.to_beam_search_params
    if getattr(original, "trimtab", False):
        return

    @functools.wraps(original)
    def to_beam_search_params(self: Any, *args: Any, **kwargs: Any) -> Any:
        from vllm.exceptions import VLLMValidationError

        said = getattr(self, "vllm_xargs", None)
        if isinstance(said, Mapping) and said.get(ASKED) is not None:
            raise VLLMValidationError(
                "beam search cannot be steered; leave use_beam_search or the steering out"
            )
        return original(self, *args, **kwargs)

    to_beam_search_params.trimtab = True  # type: ignore[attr-defined]
    request.to_beam_search_params = to_beam_search_params
