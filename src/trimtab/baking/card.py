"""The card of a baked checkpoint: what it is, how it is opened, what was compared."""

from __future__ import annotations

from trimtab.baking.baked import Baked
from trimtab.measure.statistics import rounded
from trimtab.steering.card import edits_and_whens
from trimtab.steering.steering import Steering

_WAYS = {
    "bias": "as biases, weights like any others",
    "fitted": "nearly: as a change of projections that was fitted, weights like any others",
    "module": "by the code in `modeling_steered.py`, which is to be read before it is trusted; it needs no trimtab",
}


def card(baked: Baked, steering: Steering) -> str:
    """The card in Markdown."""
    model = steering.record.model
    use = baked.use.replace(repr(str(baked.path)), '"."')
    lines = [
        f"# {steering.name}, baked",
        "",
        f"The weights of {model} that carry a steering, {_WAYS[baked.way]}.",
        "",
        "```python",
        "from transformers import AutoModelForCausalLM",
        "",
        f"model = {use}",
        "```",
        "",
        *(f"- block {block}: {text}" for block, text in edits_and_whens(steering)[0]),
    ]
    if baked.check is not None:
        check = baked.check
        compared = (
            f"On {check.prompts} answers, {check.tokens} steps in {check.dtype}, its logits were within "
            f"{check.difference:.2g} of the steered model's; steering changes them by up to {check.effect:.2g}."
        )
        lines += ["", compared]
    if baked.approximation is not None and (answered := baked.approximation.answered):
        rows = [
            f"| {name} | {one.followed if one.followed is None else round(one.followed, 2)} "
            f"| {rounded(one.quality.perplexity)} | {rounded(one.quality.facts)} |"
            for name, one in answered.items()
        ]
        lines += ["", "| answers of the model | followed | perplexity | facts |", "|---|---|---|---|", *rows]
    return "\n".join([*lines, ""])
