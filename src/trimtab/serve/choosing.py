"""What the body of one request says about steering, and the body that vLLM gets instead.

A request chooses its steering by its model name (`nano:json+lowercase*0.5`), by `vllm_xargs` (`{"steering": "json"}`),
or by both, which adds them up. What is passed on names steerings by their digests alone: whatever is loaded, replaced
or unloaded after this moment, the request gets what its names meant now.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trimtab.engines.vllm.requests import Asked, Resolved, ask, resolve, split_model_name
from trimtab.errors import SteeringError
from trimtab.serve.refusal import RefusedError

if TYPE_CHECKING:
    from trimtab.engines.vllm.library import SteeringLibrary

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
        """The digests with their strengths, `sha256:...*0.5, sha256:...*1`."""
        parts = [f"{digest}*{strength:g}" for digest, strength in self.use[:_SHOWN]]
        more = len(self.use) - _SHOWN
        return ", ".join([*parts, f"and {more} more"] if more > 0 else parts)


def choose(path: str, body: Mapping[str, Any], served: Collection[str], library: SteeringLibrary) -> Chosen:
    """Read what a request asks for, and put it into a form that no later change to the library touches.

    Args:
        path: One of `GENERATING` or `NAMING`.
        body: Its JSON object.
        served: The names under which the model is served.
        library: The steerings there are.

    Raises:
        RefusedError: It asks for something that is not there, not sound, or not possible.
    """
    extra = body.get("vllm_xargs")
    if not isinstance(extra, Mapping):
        extra = {}  # what else it may be is vLLM's to refuse
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
    resolved = _resolve(asked, library, where)
    changed = dict(body) if expression is None else {**body, "model": base}
    if path not in GENERATING:
        return Chosen(changed, resolved.use, named=True)
    if resolved.use and _asks_for_beams(body):
        raise RefusedError(
            "beam search cannot be steered on vLLM; use sampling, or leave the steering out",
            reason="beam_search",
            parameter="use_beam_search",
        )
    passed = {key: value for key, value in extra.items() if key != "steering"}
    if resolved.use:
        passed["steering"] = _pinned(asked, resolved)
    if passed or extra:
        changed["vllm_xargs"] = passed or None
    return Chosen(changed, resolved.use, named=True)


def _join(one: Asked, other: Asked) -> Asked:
    return Asked(one.parts + other.parts, one.edits + other.edits)


def _ask(value: Any, parameter: str) -> Asked:
    try:
        asked = ask({"steering": value})
    except SteeringError as error:
        raise RefusedError(error, reason="malformed", parameter=parameter) from error
    return Asked() if asked is None else asked


def _resolve(asked: Asked, library: SteeringLibrary, parameter: str) -> Resolved:
    reason = "unknown"
    try:
        for name, _ in asked.parts:
            library.get(name, named=True)
        reason = "unsuitable"
        return resolve(asked, library, named=True)
    except SteeringError as error:
        raise RefusedError(error, reason=reason, parameter=parameter) from error


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


def _asks_for_beams(body: Mapping[str, Any]) -> bool:
    """As vLLM's own parser of booleans would read it."""
    return str(body.get("use_beam_search", "")).strip().lower() not in _FALSE
