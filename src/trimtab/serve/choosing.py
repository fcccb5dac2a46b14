"""What the body of one request says about steering, and the body that vLLM gets instead.

A request chooses its steering by its model name (`nano:json+lowercase*0.5`), by `vllm_xargs` (`{"steering": "json"}`),
or by both, which adds them up. What is passed on names steerings by their digests alone: whatever is loaded, replaced
or unloaded after this moment, the request gets what its names meant now.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.serve.refusal import RefusedError
from trimtab.serve.resolving import (
    Asked,
    Resolved,
    ask,
    resolve,
    split_model_name,
)

if TYPE_CHECKING:
    from trimtab.serve.library import SteeringLibrary

GENERATING = frozenset(
    {
        "/v1/chat/completions",
        "/v1/chat/completions/batch",
        "/v1/completions",
        "/v1/messages",
        "/v1/responses",
        "/invocations",
    }
)
"""Where a request may choose a steering."""
NAMING = frozenset({"/v1/messages/count_tokens", "/tokenize", "/detokenize"})
"""Where a request names a model and nothing is generated: the steering in its name is checked, and left out."""
INFERENCE = "/inference/v1/generate"
"""Where tokens are sent, and a steering in the sampling parameters, which vLLM's own side of trimtab reads."""

_RESPONSES = "/v1/responses"
_RENDERING = frozenset(
    {
        "/v1/chat/completions/render",
        "/v1/completions/render",
        "/v1/messages/render",
        "/v1/responses/render",
    }
)
"""Where a request is made one for `INFERENCE`, its `vllm_xargs` with it."""

_FALSE = ("", "0", "false", "f", "no", "n", "off", "none")
_SHOWN = 8


@dataclass(frozen=True)
class Chosen:
    """What one request gets.

    Attributes:
        body: To be passed on in place of the request's own; None if nothing has to be changed.
        use: The digests and strengths, nothing for an unsteered request.
        named: Whether the request asked for a steering at all (with strength 0, say).
    """

    body: dict[str, Any] | None
    use: tuple[tuple[str, float], ...]
    named: bool

    def __str__(self) -> str:
        """What steers, as `expression` has it; of more than eight the first eight."""
        more = len(self.use) - _SHOWN
        return expression(self.use[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def expression(use: Sequence[tuple[str, float]]) -> str:
    """Digests and strengths as a request could ask for them: `sha256:...*0.8+sha256:...`."""
    parts = []
    for digest, strength in use:
        number = repr(strength).removesuffix(".0")
        parts.append(digest if number == "1" else f"{digest}*{number}")
    return "+".join(parts)


def choose(
    path: str,
    body: Mapping[str, Any],
    served: Collection[str],
    library: SteeringLibrary,
    *,
    discreet: bool = False,
) -> Chosen:
    """Read what a request asks for, and put it into a form that no later change to the library touches.

    Args:
        path: One of `GENERATING` or `NAMING`.
        body: Its JSON object.
        served: The names under which the model is served.
        library: The steerings there are.
        discreet: Do not tell which there are.

    Raises:
        RefusedError: It asks for something that is not there, not sound, or not possible.
    """
    extra = _extra(body)
    if "trimtab" in extra:
        raise RefusedError(
            "vllm_xargs.trimtab is the server's own; write vllm_xargs.steering instead",
            reason="internal_key",
            parameter="vllm_xargs",
        )
    model = body.get("model")
    base, expression = split_model_name(model, served) if isinstance(model, str) else (model, None)
    said = {"model": expression, "vllm_xargs": extra.get("steering")}
    asked = Asked()
    for parameter, value in said.items():
        if value is not None:
            asked = _join(asked, _ask(value, parameter))
    where = next((parameter for parameter, value in said.items() if value is not None), None)
    if where is None:
        return Chosen(None, (), named=False)
    resolved = _resolve(asked, library, where, discreet=discreet)
    changed = dict(body) if expression is None else {**body, "model": base}
    if path not in GENERATING:
        return Chosen(changed, resolved.use, named=True)
    if resolved.use and _is_true(body.get("use_beam_search")):
        raise RefusedError(
            "beam search cannot be steered on vLLM; use sampling, or leave the steering out",
            reason="beam_search",
            parameter="use_beam_search",
        )
    if resolved.use and path == _RESPONSES and _is_true(body.get("background")):
        raise RefusedError(
            "a response in the background cannot be steered: its steering could be unloaded before it is done; wait "
            "for the answer or stream it, or leave the steering out",
            reason="background",
            parameter="background",
        )
    passed = {key: value for key, value in extra.items() if key != "steering"}
    if resolved.use:
        passed["steering"] = _pinned(asked, resolved)
    if passed or extra:
        changed["vllm_xargs"] = passed or None
    return Chosen(changed, resolved.use, named=True)


def check_elsewhere(path: str, body: Mapping[str, Any], served: Collection[str]) -> None:
    """Refuse a request for steering at a path where vLLM would answer it unsteered.

    Args:
        path: None of `GENERATING` or `NAMING`.
        body: Its JSON object.
        served: The names under which the model is served.

    Raises:
        RefusedError: It asks for steering.
    """
    model = body.get("model")
    named = isinstance(model, str) and split_model_name(model, served)[1] is not None
    said = _extra(body).get("steering") is not None and path not in _RENDERING
    if not named and not said:
        return
    if path == INFERENCE:
        instead = "write it into sampling_params.extra_args"
    elif path in _RENDERING:
        instead = "write it into vllm_xargs"
    else:
        instead = (
            "leave it out, or ask at /v1/chat/completions, /v1/completions, /v1/responses or /v1/messages"
        )
    raise RefusedError(
        f"{path!r:.100} takes no steering {'by the name of the model' if named else 'by vllm_xargs'}; {instead}",
        reason="elsewhere",
        parameter="model" if named else "vllm_xargs",
    )


def _extra(body: Mapping[str, Any]) -> Mapping[str, Any]:
    extra = body.get("vllm_xargs")
    return extra if isinstance(extra, Mapping) else {}  # what else it may be is vLLM's to refuse


def _join(one: Asked, other: Asked) -> Asked:
    return Asked(one.parts + other.parts, one.edits + other.edits)


def _ask(value: Any, parameter: str) -> Asked:
    try:
        asked = ask({"steering": value})
    except SteeringError as error:
        raise RefusedError(error, reason="malformed", parameter=parameter) from error
    return Asked() if asked is None else asked


def _resolve(asked: Asked, library: SteeringLibrary, parameter: str, *, discreet: bool) -> Resolved:
    for name, _ in asked.parts:
        try:
            library.get(name, named=True)
        except SteeringError as error:
            message = f"there is no steering {name!r:.100} here" if discreet else error
            raise RefusedError(message, reason="unknown", parameter=parameter) from error
    try:
        return resolve(asked, library, named=True)
    except SteeringError as error:
        raise RefusedError(error, reason="unsuitable", parameter=parameter) from error


def _pinned(asked: Asked, resolved: Resolved) -> str:
    """The same request by digests alone, and its own edits as exact bytes."""
    steerings = [
        {"digest": digest, "strength": strength}
        for digest, strength in resolved.use
        if digest not in resolved.inline
    ]
    edits = [
        {
            "block": edit.block,
            "u": _encoded(edit.u),
            "alpha": edit.alpha,
            "p": None if edit.p is None else _encoded(edit.p),
            "tokens": edit.tokens,
        }
        for edit in asked.edits
    ]
    return json.dumps({"steerings": steerings, "edits": edits})


def _encoded(vector: Tensor) -> str:
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()


def _is_true(value: Any) -> bool:
    """As vLLM's own parser of booleans would read it; what it would not read is true."""
    return str(value).strip().lower() not in _FALSE
