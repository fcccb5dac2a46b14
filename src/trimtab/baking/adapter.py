"""A steering as an adapter of peft, for whoever has the model: some kilobytes beside it, in place of a copy of it.

What is added is the bias of a LoRA that changes no weight (`trimtab.formats.peft`), at the projection that is found as
for biases (`trimtab.baking.bias`). No bias of the model's own is needed for that, so that Mistral and Qwen take it too.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trimtab import arguments, formats
from trimtab.baking import bias, fitted
from trimtab.baking.baked import Check
from trimtab.baking.checking import Answers, compared
from trimtab.baking.checkpoint import check_out, replaced
from trimtab.baking.choosing import edits_to_bake
from trimtab.engines import as_engine
from trimtab.engines.base import Model
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError, SteeringError, TrimtabError
from trimtab.prompts import default_queries
from trimtab.steering.steering import Steering, given

__all__ = ["Adapter", "write_adapter"]


@dataclass(frozen=True)
class Adapter:
    """An adapter that was written.

    Attributes:
        path: Its folder.
        where: The projections that it is for.
        check: How near it is to the steered model; None where that was not looked at, as without peft.
        use: The line of Python that opens it.
    """

    path: Path
    where: tuple[str, ...]
    check: Check | None
    use: str


def write_adapter(model: Model, steering: Steering, out: str | Path, *, check: int = 4) -> Adapter:
    """Write an adapter of peft that does what a steering does, exactly but for rounding.

    Args:
        model: An engine over transformers, or a model of transformers with its tokenizer. It is left as it was.
        steering: What only adds vectors to all tokens; a composition too.
        out: The folder, new or empty.
        check: Open it by peft, where that is installed, and compare so many answers with those of the steered model,
            before it takes its place; 0 leaves that out.

    Raises:
        SteeringError: It does something else, has a condition, or is of another model.
        ModelError: The model has no projection whose output is added to the residual stream as it is, or what was
            written is not the steered model.
    """
    out = arguments.place(out, "out", TrimtabError)
    arguments.whole(check, "check (a number of answers)", SteeringError, least=0)
    check_out(out)
    engine = as_engine(model)
    if not isinstance(engine, TransformersEngine):
        raise ModelError("adapters are for models of transformers; load it with the engine transformers")
    given(steering).check_model(engine.identity)
    edits = edits_to_bake(steering)
    reason = bias.refusal(edits)
    if reason is not None:
        raise SteeringError(
            f'this cannot be an adapter: {reason}; a checkpoint takes it (the way "module"), and export --approximate '
            "writes the nearest vectors (--format peft)"
        )
    place, blocks = engine.decoder_blocks, sorted({edit.block for edit in edits})
    exact = bias.projections(engine.model, place, blocks)
    if isinstance(exact, str):
        raise ModelError(f'this cannot be an adapter: {exact}; a checkpoint takes it (the way "module")')
    inner = int(fitted.weight_of(place.blocks[blocks[0]].get_submodule(exact[0])).shape[1])
    module = f"{place.path}.{{}}.{exact[0]}"
    with replaced(out) as folder:
        formats.write(steering, folder, "peft", options={"module": module, "inner": inner})
        checked = None
        if check and find_spec("peft"):
            checked = _checked(engine, steering, folder, check)
    where = tuple(module.format(block) for block in blocks)
    return Adapter(out, where, checked, f"PeftModel.from_pretrained(model, '{out}')")


def _checked(engine: TransformersEngine, steering: Steering, folder: Path, count: int) -> Check:
    from peft import PeftModel

    prompts = default_queries(engine.identity, "validation", count)
    steered, plain = (Answers.of(engine, prompts, engine.model, one) for one in (steering, None))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that such an adapter cannot be merged
        adapted: Any = PeftModel.from_pretrained(engine.model, str(folder))
    try:
        found = Answers.of(engine, prompts, adapted, None)
    finally:
        adapted.unload()
    return compared(steered, plain, found, engine.model.dtype)
