"""What the body of one request says about steering, and the body that the server behind gets instead.

A request chooses its steering by its model name (`nano:json+lowercase*0.5`), by its field `steering`, by its
arguments (`vllm_xargs`, say: `{"steering": "json"}`), or by several of them, which adds them up. What is passed on
names steerings by their digests alone: whatever is loaded, replaced or unloaded after this moment, the request gets
what its names meant now.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.serve.composition import Composition, expression
from trimtab.serve.refusal import RefusedError
from trimtab.serve.request import STEERING_KEY, SteeringRequest, parse_request
from trimtab.serve.resolving import Resolved, resolve, split_model_name

if TYPE_CHECKING:
    from trimtab.serve.backend import Interface
    from trimtab.serve.library import SteeringLibrary

_SHOWN = 8


@dataclass(frozen=True)
class SteeringChoice:
    """What steers a request, and the body to be passed on in place of its own; None where nothing has to be changed."""

    body: dict[str, Any] | None = None
    composition: Composition = ()

    def __str__(self) -> str:
        """What steers, as `expression` has it; of more than eight the first eight."""
        more = len(self.composition) - _SHOWN
        return expression(self.composition[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def choose(
    path: str,
    body: Mapping[str, Any],
    interface: Interface,
    served: Collection[str],
    library: SteeringLibrary,
    *,
    discreet: bool = False,
) -> SteeringChoice:
    """Read what a request asks for, and put it into a form that no later change to the library touches.

    Where it is `discreet`, which steerings there are is not told.

    Raises:
        RefusedError: It asks for something that is not there, not sound, or not possible.
    """
    field = interface.arguments
    arguments = _arguments(body, field)
    if "trimtab" in arguments:
        raise RefusedError(
            f"{field}.trimtab is the server's own; write {field}.{STEERING_KEY} instead",
            reason="internal_key",
            parameter=field,
        )
    model = body.get("model")
    base, named = split_model_name(model, served) if isinstance(model, str) else (model, None)
    places = {"model": named, STEERING_KEY: body.get(STEERING_KEY), field: arguments.get(STEERING_KEY)}
    given = {parameter: value for parameter, value in places.items() if value is not None}
    if not given:
        return SteeringChoice()
    requests = [_parse(value, parameter) for parameter, value in given.items()]
    request = SteeringRequest(
        tuple(part for one in requests for part in one.parts),
        tuple(edit for one in requests for edit in one.edits),
    )
    resolved = _resolve(request, library, next(iter(given)), discreet=discreet)
    changed = {key: value for key, value in body.items() if key != STEERING_KEY}
    if named is not None:
        changed["model"] = base
    if path not in interface.generating:
        return SteeringChoice(changed, resolved.composition)
    if resolved.composition:
        interface.refuse(path, body)
    passed = {key: value for key, value in arguments.items() if key != STEERING_KEY}
    if resolved.composition:
        passed[STEERING_KEY] = _pinned(request, resolved)
    if passed or arguments:
        changed[field] = passed or None
    return SteeringChoice(changed, resolved.composition)


def check_elsewhere(
    path: str, body: Mapping[str, Any], interface: Interface, served: Collection[str]
) -> None:
    """Refuse a request for steering at a path where it would be answered unsteered.

    Raises:
        RefusedError: It asks for steering.
    """
    model, field = body.get("model"), interface.arguments
    named = isinstance(model, str) and split_model_name(model, served)[1] is not None
    given = _arguments(body, field).get(STEERING_KEY) is not None and path not in interface.arguments_pass
    places = {"model": named, STEERING_KEY: body.get(STEERING_KEY) is not None, field: given}
    if asked := [parameter for parameter, wanted in places.items() if wanted]:
        how = "by the name of the model" if named else f"by {asked[0]}"
        raise RefusedError(
            f"{path!r:.100} takes no steering {how}; {interface.advice(path)}",
            reason="elsewhere",
            parameter=asked[0],
        )


def _arguments(body: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    arguments = body.get(field)
    return (
        arguments if isinstance(arguments, Mapping) else {}
    )  # what else it may be is the server's to refuse


def _parse(value: Any, parameter: str) -> SteeringRequest:
    try:
        return parse_request(value)
    except SteeringError as error:
        raise RefusedError(error, reason="malformed", parameter=parameter) from error


def _resolve(
    request: SteeringRequest, library: SteeringLibrary, parameter: str, *, discreet: bool
) -> Resolved:
    for name, _ in request.parts:
        try:
            library.get(name, named=True)
        except SteeringError as error:
            message = f"there is no steering {name!r:.100} here" if discreet else error
            raise RefusedError(message, reason="unknown", parameter=parameter) from error
    try:
        return resolve(request, library, named=True)
    except SteeringError as error:
        raise RefusedError(error, reason="unsuitable", parameter=parameter) from error


def _pinned(request: SteeringRequest, resolved: Resolved) -> str:
    """The same request by digests alone, and its own edits as exact bytes."""
    steerings = [
        {"digest": digest, "strength": strength}
        for digest, strength in resolved.composition
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
        for edit in request.edits
    ]
    return json.dumps({"steerings": steerings, "edits": edits})


def _encoded(vector: Tensor) -> str:
    return base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode()
