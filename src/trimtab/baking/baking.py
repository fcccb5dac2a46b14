"""A steering into a checkpoint: the first way that takes it, exactly."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from trimtab._version import __version__
from trimtab.baking import bias, module
from trimtab.baking.baked import Baked
from trimtab.baking.card import card
from trimtab.baking.checking import Answers, compared
from trimtab.baking.checkpoint import RECORD, Checkpoint, check_out, replaced
from trimtab.engines.base import Model
from trimtab.engines.loading import as_engine, quiet_bars
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError, SteeringError, TrimtabError
from trimtab.files import write_text
from trimtab.prompts import default_queries
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Steering

Way = Literal["bias", "module"]
"""How a checkpoint carries a steering."""
WAYS: tuple[Way, ...] = get_args(Way)
"""In the order in which they are tried."""
_USE = "AutoModelForCausalLM.from_pretrained({place!r}{trust})"


def bake(
    model: Model,
    steering: Steering,
    out: str | Path,
    *,
    way: Way | None = None,
    check: int = 4,
) -> Baked:
    """Write a checkpoint of transformers that does, unsteered, what a model does with a steering.

    Two ways are exact, but for rounding. `"bias"` takes vectors that are added to all tokens, where the architecture
    has a bias at a block's last projection or a switch in its config for one: weights like any others, for every
    runtime. `"module"` takes every edit: a file of code in the folder puts them behind the blocks; it is opened by
    `trust_remote_code=True` and needs no trimtab.

    Args:
        model: An engine over transformers, or a model of transformers with its tokenizer. It is left as it was.
        steering: What to bake, a composition too; of this model.
        out: The folder. It must be missing or empty, or one that was baked before, which is replaced.
        way: `"bias"` or `"module"`; None takes the first that the steering and the architecture allow.
        check: Open the checkpoint again and compare so many answers with those of the steered model, before it takes
            its place; 0 leaves that out.

    Returns:
        What was written, and why a way that comes before was not taken.

    Raises:
        SteeringError: The steering changes nothing, has a condition, is of another model, or cannot go the way that was
            asked for.
        ModelError: The model cannot be written, or what was written is not the steered model.
        TrimtabError: The folder cannot be written.
    """
    out = Path(out)
    check_out(out)
    engine = as_engine(model)
    if not isinstance(engine, TransformersEngine):
        raise ModelError("baking writes a model of transformers; load it with the engine transformers")
    if way is not None and way not in WAYS:
        raise SteeringError(f"there is no way {way!r:.60} to bake; there is {' and '.join(WAYS)}")
    if check < 0:
        raise SteeringError(f"answers to compare are a number from 0 on, not {check}")
    steering.check_model(engine.identity)
    edits = _edits_to_bake(steering)
    taken, where, refused = _choose(engine, edits, way)

    with replaced(out) as folder:
        writing = (
            module.prepared(engine.model, engine.decoder_blocks, edits, folder)
            if isinstance(taken, str)
            else nullcontext(bias.checkpoint(engine.model, engine.decoder_blocks, taken, edits))
        )
        with writing as checkpoint:
            _write(engine, checkpoint, folder)
            checked = _checked(engine, steering, checkpoint, folder, check) if check else None
        name = "module" if isinstance(taken, str) else "bias"
        trust = ", trust_remote_code=True" if name == "module" else ""
        baked = Baked(
            path=out,
            way=name,
            exact=True,
            where=where,
            architecture=str(checkpoint.config.model_type),
            refused=refused,
            check=checked,
            use=_USE.format(place=str(out), trust=trust),
        )
        write_text(folder / RECORD, _record(baked, steering))
        write_text(folder / "README.md", card(baked, steering))
    return baked


def _edits_to_bake(steering: Steering) -> list[Edit]:
    """What acts, on every prompt."""
    if steering.whens:
        raise SteeringError(
            f"'{steering.name}' acts only if {steering.whens[0].describe()}, which is decided on a whole prompt before "
            "it is run, and weights cannot; bake what acts on every prompt: steering.always(), or trimtab when --remove"
        )
    edits = [edit for edit in steering.edits if not edit.is_nothing]
    if not edits:
        raise SteeringError(f"'{steering.name}' changes nothing: there is nothing to bake")
    if any(edit.rectified for edit in edits):
        raise SteeringError(
            f"'{steering.name}' has rectified edits (form psr), which no way to bake can hold; learn gated edits"
        )
    if any(edit.tokens == "answer" for edit in edits):
        raise SteeringError(
            f"'{steering.name}' has edits for the answer behind a thought, which a baked model cannot tell apart; make "
            'them act on all that is written: tokens="generated"'
        )
    return edits


def _choose(
    engine: TransformersEngine, edits: Sequence[Edit], way: Way | None
) -> tuple[bias.Place | str, tuple[str, ...], dict[str, str]]:
    """Where the biases go, or "module"; the names of the tensors; and why earlier ways are not taken."""
    model, place = engine.model, engine.decoder_blocks
    refused: dict[str, str] = {}
    if way != "module":
        blocks = sorted({edit.block for edit in edits})
        found = bias.refusal(edits) or bias.find(model, place, blocks)
        if isinstance(found, bias.Place):
            return found, tuple(bias.vectors(edits, place.path, found.projection)), refused
        refused["bias"] = found
    reason = module.refusal(model)
    if way == "bias":
        nearest = "" if reason else '; the way "module" takes it'
        raise SteeringError(f"this cannot be a bias: {refused['bias']}{nearest}")
    if reason:
        refused["module"] = reason
        raise ModelError(
            "this cannot be baked: " + "; ".join(f"as a {name}: {why}" for name, why in refused.items())
        )
    return "module", tuple(module.edit_tensors(edits, place.path)[0]), refused


def _write(engine: TransformersEngine, checkpoint: Checkpoint, folder: Path) -> None:
    # Whatever the classes of an architecture, a tokenizer in Rust and generation configs of strangers may raise.
    try:
        with quiet_bars():
            checkpoint.write(folder, copy.deepcopy(engine.model.generation_config))
            engine.tokenizer.save_pretrained(folder)
    except (TrimtabError, OSError):
        raise
    except Exception as error:
        raise ModelError(f"{checkpoint.kind.__name__} cannot be written: {error}") from error


def _checked(
    engine: TransformersEngine, steering: Steering, checkpoint: Checkpoint, folder: Path, count: int
) -> Any:
    """The checkpoint opened again by its class, beside the model it was made of."""
    prompts = default_queries(engine.identity, "validation", count)
    dtype: torch.dtype = engine.model.dtype
    steered = Answers.of(engine, prompts, engine.model, steering)
    plain = Answers.of(engine, prompts, engine.model, None)
    with quiet_bars():
        opened = checkpoint.kind.from_pretrained(folder, dtype=dtype).to(engine.device).eval()
    return compared(steered, plain, Answers.of(engine, prompts, opened, None), dtype)


def _record(baked: Baked, steering: Steering) -> str:
    import transformers

    document = {
        "format": "trimtab-baked",
        "format_version": 1,
        **baked.to_dict(),
        "steering": {"name": steering.name, "digest": steering.digest(), **steering.record.to_dict()},
        "trimtab": __version__,
        "transformers": transformers.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
