"""What a request says about its steering, read with suspicion: names and strengths, or edits that it brings along.

    "json*0.8+lowercase"                                              names or digests, with strengths
    {"steerings": [{"name": "json", "strength": 0.8},
                   {"digest": "sha256:0123456789ab"}],                the same, spelled out
     "edits": [{"block": 2, "u": [...], "alpha": 1.0,
                "p": [...], "tokens": "generated"}]}                  edits of the request's own

Either may come as text, the object as JSON, for servers whose arguments are no objects. A vector is a list of numbers
or, for what is long, the base64 of its float32 values, lowest byte first.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trimtab.errors import SteeringError
from trimtab.files import json_value
from trimtab.steering.edits import Edit

__all__ = ["STEERING_KEY", "SteeringRequest", "parse_request"]

STEERING_KEY = "steering"
"""The entry of a request's arguments: over HTTP of `vllm_xargs`, in vLLM of `extra_args`."""
MOST_STEERINGS = 32
MOST_EDITS = 256
MOST_VALUES = 2**21
"""Numbers in all the edits of one request: 8 MiB as float32."""
MOST_TEXT = 32 * 2**20
MOST_EXPRESSION = 8192
LARGEST_STRENGTH = 1e6

_EXAMPLE = "write for example json*0.8+lowercase"
_PART = re.compile(
    r"\s*(?P<name>[A-Za-z0-9_][A-Za-z0-9_.:-]*)\s*"
    r"(?:\*\s*(?P<strength>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*)?(?P<end>\+|$)"
)


@dataclass(frozen=True)
class SteeringRequest:
    """What a request says: names or digests with strengths, and edits of its own, sound in themselves.

    Nobody has looked yet whether it can be had.
    """

    parts: tuple[tuple[str, float], ...] = ()
    edits: tuple[Edit, ...] = ()


def parse_request(value: Any) -> SteeringRequest:
    """Read what a request asks for.

    Raises:
        SteeringError: It cannot be understood, is too much, or not finite.
    """
    if isinstance(value, str):
        is_object = value[:64].lstrip().startswith("{")
        most = MOST_TEXT if is_object else MOST_EXPRESSION
        if len(value) > most:
            raise SteeringError(
                f"the steering has {len(value)} characters, and {most} is the most; load it on the server instead"
            )
        if not is_object:
            return SteeringRequest(_expression(value))
        value = _parse(value)
    if not isinstance(value, Mapping):
        raise SteeringError(f"a steering is text or an object, not {_shown(value)}; {_EXAMPLE}")
    _refuse_unknown(value, ("steerings", "edits"), "a steering")
    if not value:
        raise SteeringError(
            f"the steering is empty; give it 'steerings' or 'edits', leave it out, or {_EXAMPLE}"
        )
    parts = tuple(_part(item) for item in _listed(value, "steerings", MOST_STEERINGS))
    return SteeringRequest(parts, _edits(_listed(value, "edits", MOST_EDITS)))


def _expression(text: str) -> tuple[tuple[str, float], ...]:
    if not text.strip():
        raise SteeringError(f"the steering is empty; leave it out, or {_EXAMPLE}")
    parts: list[tuple[str, float]] = []
    place, more = 0, True
    while more:
        match = _PART.match(text, place)
        if match is None:
            rest = text[place:].strip()
            where = f"from {_shown(rest)} on" if rest else "at its end"
            raise SteeringError(
                f"the steering {_shown(text)} cannot be read {where}: a name or a digest was expected, and * with a "
                f"number where it has a strength; {_EXAMPLE}"
            )
        strength = match["strength"]
        parts.append((match["name"], 1.0 if strength is None else _strength(float(strength), match["name"])))
        place, more = match.end(), match["end"] == "+"
        _refuse_more(len(parts), MOST_STEERINGS, "steerings")
    return tuple(parts)


def _parse(text: str) -> Any:
    try:
        return json_value(text)
    except ValueError as error:
        raise SteeringError(
            f"the steering begins like JSON and is none ({error}); mend it, or {_EXAMPLE}"
        ) from error


def _listed(value: Mapping[str, Any], key: str, most: int) -> Sequence[Any]:
    items = value.get(key, [])
    if not isinstance(items, list | tuple):
        raise SteeringError(f"'{key}' of a steering must be a list, not {_shown(items)}")
    _refuse_more(len(items), most, key)
    return items


def _part(item: Any) -> tuple[str, float]:
    if not isinstance(item, Mapping):
        raise SteeringError(
            f"each of 'steerings' must be an object with a name or a digest, not {_shown(item)}"
        )
    _refuse_unknown(item, ("name", "digest", "strength"), "one of 'steerings'")
    called = [item[key] for key in ("name", "digest") if item.get(key) is not None]
    if len(called) != 1 or not isinstance(called[0], str):
        raise SteeringError(
            f"each of 'steerings' needs either a name or a digest, as text; {_shown(dict(item))} has not"
        )
    if item.get("digest") is not None and not called[0].startswith("sha256:"):
        raise SteeringError(
            f"a digest begins with sha256:, not {_shown(called[0])}; say 'name' where it is a name"
        )
    return called[0], _strength(item.get("strength", 1.0), called[0])


def _edits(items: Sequence[Any]) -> tuple[Edit, ...]:
    edits, values = [], 0
    for number, item in enumerate(items):
        where = f"edit {number}"
        if not isinstance(item, Mapping):
            raise SteeringError(f"{where} must be an object, not {_shown(item)}")
        _refuse_unknown(item, ("block", "u", "alpha", "p", "tokens"), where)
        if "u" not in item or "block" not in item:
            raise SteeringError(
                f"{where} lacks '{'u' if 'block' in item else 'block'}'; it needs a block and u"
            )
        if item.get("alpha") is None and item.get("p") is None:
            raise SteeringError(
                f"{where} has neither alpha nor p and would change nothing; give alpha=1 to add u as it is"
            )
        alpha = item.get("alpha")
        u = _vector(item["u"], f"u of {where}", MOST_VALUES - values)
        values += len(u)
        p = None if item.get("p") is None else _vector(item["p"], f"p of {where}", MOST_VALUES - values)
        values += 0 if p is None else len(p)
        try:
            edits.append(
                Edit(
                    block=item["block"],
                    u=u,
                    alpha=0.0 if alpha is None else _number(alpha, f"alpha of {where}"),
                    p=p,
                    tokens=item.get("tokens", "all"),
                )
            )
        except SteeringError as error:
            raise SteeringError(f"{where}: {error}") from error
    return tuple(edits)


def _vector(value: Any, name: str, most: int) -> Tensor:
    """A vector of floats out of a list of numbers, or out of base64; `Edit` checks that it is finite."""
    if isinstance(value, str):
        try:
            content = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError) as error:
            raise SteeringError(f"{name} is text and not base64 ({error}); give a list of numbers") from error
        if len(content) % 4:
            raise SteeringError(f"{name} has {len(content)} bytes as base64; float32 values have 4 each")
        values = np.frombuffer(content, dtype="<f4").astype(np.float32)
    elif isinstance(value, list | tuple) and set(map(type, value)) <= {int, float}:
        try:
            with np.errstate(over="ignore"):  # becomes infinite, and is refused as that
                values = np.array(value, dtype=np.float64).astype(np.float32)
        except OverflowError:
            values = np.array([math.inf], dtype=np.float32)
    else:
        raise SteeringError(
            f"{name} must be a list of numbers or the base64 of float32 values, not {_shown(value)}"
        )
    if len(values) > most:
        raise SteeringError(
            f"the edits of a request may have {MOST_VALUES} numbers in all, and {name} goes beyond; load them on the "
            "server as a steering"
        )
    return torch.from_numpy(values)


def _strength(value: Any, name: str) -> float:
    strength = _number(value, f"the strength of {_shown(name)}")
    if abs(strength) > LARGEST_STRENGTH:
        raise SteeringError(
            f"the strength of {_shown(name)} is {strength:g}; it must be between {-LARGEST_STRENGTH:g} and "
            f"{LARGEST_STRENGTH:g}"
        )
    return strength


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SteeringError(f"{what} must be a number, not {_shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise SteeringError(f"{what} must be a finite number, not {number}")
    return number


def _refuse_unknown(value: Mapping[str, Any], known: Sequence[str], what: str) -> None:
    unknown = [str(key) for key in value if key not in known]
    if unknown:
        raise SteeringError(f"{what} has no entry {_shown(unknown[0])}; it may have {', '.join(known)}")


def _refuse_more(count: int, most: int, what: str) -> None:
    if count > most:
        raise SteeringError(
            f"a request may have {most} {what}, and this one has more; put them together into one steering "
            "and load that"
        )


def _shown(value: Any) -> str:
    """A value to quote: short, and escaped, so that any answer can carry it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python writes out no whole number of more than 4300 digits
        text = "..."
    if not isinstance(value, str | int | float | bool | None):
        text = f"{type(value).__name__} {text[:40]}"
    return text if len(text) <= 60 else f"{text[:57]}..."
