"""The fields of OpenAI's requests: what is served is read strictly, and what is not is refused by its name.

Fields that only tell who asks are taken; any other that would change the answer and is not served here is refused
unless it says what would have been done anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trimtab.serve.refusal import RefusedError

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "add_generation_prompt": (),
    "audio": (),
    "bad_words": ([],),
    "best_of": (1,),
    "chat_template": (),
    "chat_template_kwargs": ({},),
    "documents": ([],),
    "echo": (False,),
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "ignore_eos": (False,),
    "include_reasoning": (True,),
    "length_penalty": (1,),
    "logit_bias": ({},),
    "logits_processors": ([],),
    "min_p": (0,),
    "min_tokens": (0,),
    "modalities": (["text"],),
    "parallel_tool_calls": (True, False),  # of tools, of which there are none
    "prediction": (),
    "presence_penalty": (0,),
    "priority": (0,),
    "prompt_logprobs": (),
    "reasoning_effort": (),
    "repetition_penalty": (1,),
    "service_tier": ("auto", "default"),
    "skip_special_tokens": (True,),
    "stop_token_ids": ([],),
    "store": (False,),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "truncate_prompt_tokens": (),
    "use_beam_search": (False,),
    "verbosity": (),
    "web_search_options": (),
}
"""What is known and not served, with the values that ask for nothing."""
_TOLD = frozenset(
    {
        "cache_salt",  # there is no cache that two requests share
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "user",
    }
)
"""What changes no answer."""
_INSTEAD = {
    "chat_template_kwargs": "start the server with --template-options",
    "n": "ask again",
}


class StreamOptions(BaseModel):
    """What a stream tells besides the answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    include_usage: bool | None = None


class Body(BaseModel):
    """What both kinds of request have in common."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str | None = None
    vllm_xargs: dict[str, Any] | None = None
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=-1)
    n: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    response_format: dict[str, Any] | None = None
    structured_outputs: dict[str, Any] | None = None

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts at which an answer ends, without them."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(stops)

    @property
    def includes_usage(self) -> bool:
        """Whether a stream tells at its end how many tokens there were."""
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def most_tokens(self) -> int | None:
        """The longest answer asked for."""
        return self.max_tokens

    @property
    def alternatives(self) -> int | None:
        """How many likely tokens are told at each place; None if not even the one written."""
        return None


class ChatBody(Body):
    """The body of a request to `/v1/chat/completions`."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    continue_final_message: bool | None = None

    @property
    def most_tokens(self) -> int | None:
        """The longest answer asked for."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def alternatives(self) -> int | None:
        """How many likely tokens are told at each place; None if not even the one written."""
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionBody(Body):
    """The body of a request to `/v1/completions`."""

    prompt: str | list[str] | list[int] | list[list[int]]
    logprobs: int | None = Field(None, ge=0, le=20)

    @property
    def alternatives(self) -> int | None:
        """How many likely tokens are told at each place; None if not even the one written."""
        return self.logprobs


B = TypeVar("B", bound=Body)


def read(kind: type[B], content: Any) -> B:
    """Reads a body, strictly.

    Raises:
        RefusedError: It is no JSON object, a field has a value that it cannot have, or asks for what is not served.
    """
    if not isinstance(content, Mapping):
        raise RefusedError("the body must be a JSON object", reason="malformed")
    try:
        body = kind.model_validate(content)
    except ValidationError as error:
        raise _malformed(error, content) from error
    for name, value in (body.model_extra or {}).items():
        _check_unserved(name, value)
    _check_together(body)
    return body


def _malformed(error: ValidationError, content: Mapping[Any, Any]) -> RefusedError:
    # Where a field may be of several kinds, each says what it is not: what went in furthest is what was meant.
    first = max(error.errors(include_url=False), key=lambda one: len(one["loc"]))
    field = str(first["loc"][0]) if first["loc"] else None
    where = ".".join(str(part) for part in first["loc"] if not isinstance(part, str) or "[" not in part)
    message = first["msg"][:1].lower() + first["msg"][1:]
    if first["type"] == "missing":
        return RefusedError(f"the request lacks '{where}'", reason="malformed", parameter=field)
    told = ("extra_forbidden", "too_short")  # these say it all
    given = "" if first["type"] in told else f", not {_shown(first['input'])}"
    return RefusedError(f"{where:.100}: {message}{given}", reason="malformed", parameter=field)


def _check_unserved(name: str, value: Any) -> None:
    if value is None or name in _TOLD:
        return
    if name not in _NEUTRAL:
        raise RefusedError(
            f"there is no field {name!r:.60} here; leave it out", reason="malformed", parameter=name[:60]
        )
    neutral = _NEUTRAL[name]
    if any(type(value) in (type(one), float) and value == one for one in neutral):
        return
    instead = _INSTEAD.get(name, "leave it out")
    raise RefusedError(
        f"{name} is not served by the transformers engine; {instead}", reason="unserved", parameter=name
    )


def _check_together(body: Body) -> None:
    if body.stream_options is not None and not body.stream:
        raise RefusedError(
            "stream_options go with stream=true; leave them out",
            reason="malformed",
            parameter="stream_options",
        )
    if any(not stop for stop in body.stops) or len(body.stops) > 16:
        raise RefusedError(
            "stop is a text or up to 16 of them, none of them empty", reason="malformed", parameter="stop"
        )
    if body.response_format is not None and body.structured_outputs is not None:
        raise RefusedError(
            "give response_format or structured_outputs, not both",
            reason="malformed",
            parameter="response_format",
        )
    if isinstance(body, ChatBody) and body.top_logprobs is not None and not body.logprobs:
        raise RefusedError(
            "top_logprobs goes with logprobs=true", reason="malformed", parameter="top_logprobs"
        )


def _shown(value: Any) -> str:
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        return type(value).__name__
    return f"{value!r:.60}"
