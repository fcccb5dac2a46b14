"""A steering as a short card of text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

from trimtab.errors import SteeringError
from trimtab.steering.record import short

if TYPE_CHECKING:
    from trimtab.steering.edits import Edit
    from trimtab.steering.steering import Steering


def describe(steering: Steering) -> str:
    """What a steering does, for which model, how it was made and what it measured, one fact a line."""
    record = steering.record
    model = record.model
    plain = model.chat_template == "plain"
    template = "plain question/answer format" if plain else short(model.chat_template)
    rows = [
        ("model", str(model)),
        ("chat template", template),
        ("instructions", ", ".join(_instruction(item) for item in record.instructions) or "none named"),
        ("method", record.method),
        ("prompts", short(record.prompts) if record.prompts else "not recorded"),
    ]
    edits, whens = edits_and_whens(steering)
    texts = [f"block {block}: {text}" for block, text in edits] or ["none: it changes nothing"]
    rows += [("" if number else "edits", text) for number, text in enumerate(texts)]
    rows += whens
    if record.settings:
        rows.append(("settings", _values(record.settings)))
    if measured := {name: value for name, value in record.measurements.items() if name != "samples"}:
        rows.append(("measured", _values(measured)))
    rows += [
        ("warning", f"on {name}, quality is out of bounds: {', '.join(words)}")
        for name, words in record.out_of_bounds.items()
    ]
    rows.append(("made by", f"trimtab {record.version}" + (f", {record.created}" if record.created else "")))
    rows.append(("digest", _digest(steering)))
    width = max(len(label) for label, _ in rows)
    return "\n".join([steering.name, *(f"  {label:<{width}}  {text}" for label, text in rows)])


def edits_and_whens(steering: Steering) -> tuple[list[tuple[int, str]], list[tuple[str, str]]]:
    """What each edit does, with its block; and each `when`, with a label that edits which differ in it refer to."""
    whens = steering.whens
    alike = len(whens) < 2 and all(edit.when is not None for edit in steering.edits)
    edits = [
        (
            edit.block,
            describe_edit(edit)
            + ("" if alike or edit.when is None else f", if ({whens.index(edit.when) + 1})"),
        )
        for edit in sorted(steering.edits, key=lambda edit: edit.block)
    ]
    labels = ("acts only if" if alike else f"({number}) only if" for number in range(1, len(whens) + 1))
    return edits, [(label, when.describe()) for label, when in zip(labels, whens, strict=True)]


def describe_edit(edit: Edit) -> str:
    """What an edit does, in words with its numbers: an added vector, a set projection, or a gated direction."""
    norm = float(edit.u.double().norm())
    gate = 0.0 if edit.p is None else float(edit.p.double().norm())
    if edit.is_nothing:
        text = "changes nothing"
    elif edit.rectified:
        text = f"adds max(0, alpha + p.h) u with |u| {norm:.4g}, |p| {gate:.4g}, alpha {edit.alpha:.4g}"
    elif edit.p is None or gate == 0:
        text = f"adds a vector of norm {abs(edit.alpha) * norm:.4g}"
    elif abs(gate - 1) < 1e-4 and torch.allclose(
        edit.u, -(share := -float(edit.u @ edit.p)) * edit.p, atol=1e-6
    ):
        # A set projection, or one that was scaled since.
        way = (
            "sets the projection to"
            if abs(share - 1) < 1e-4
            else f"moves the projection {share:.4g} of the way to"
        )
        text = (
            "removes the direction"
            if edit.alpha == 0 and abs(share - 1) < 1e-4
            else f"{way} {edit.alpha:.4g}"
        )
    else:
        text = f"adds (alpha + p.h) u with |u| {norm:.4g}, |p| {gate:.4g}, alpha {edit.alpha:.4g}"
    return text if edit.tokens == "all" else f"{text}, {edit.tokens} tokens only"


def _digest(steering: Steering) -> str:
    try:
        return short(steering.digest())
    except SteeringError:  # a `when` that is Python code
        return "none: it cannot be saved"


def _instruction(item: dict[str, Any]) -> str:
    params = ", ".join(f"{key}={value!r}" for key, value in item["params"].items())
    return f"{item['name']}({params})" if params else str(item["name"])


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"{key} {_value(value)}" for key, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return f"({_values(value)})"
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return "; ".join(f"({_values(item)})" for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
