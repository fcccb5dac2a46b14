"""A steering into a checkpoint: chosen, written, opened again and compared, and only then put in its place."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trimtab import arguments
from trimtab._version import __version__
from trimtab.baking import fitted, measuring
from trimtab.baking.baked import Approximation, Baked, Check
from trimtab.baking.card import card
from trimtab.baking.checking import Answers, compared
from trimtab.baking.checkpoint import RECORD, Checkpoint, check_out, replaced
from trimtab.baking.choosing import WAYS, Fitting, Way, choose, edits_to_bake
from trimtab.engines.base import Model
from trimtab.engines.chat import prompt_ids
from trimtab.engines.loading import quiet_bars
from trimtab.engines.transformers import TransformersEngine
from trimtab.engines.wrapping import as_engine
from trimtab.errors import ModelError, SteeringError, TrimtabError
from trimtab.files import write_text
from trimtab.progress import Progress, Tell, prefixed, shown
from trimtab.prompts import default_queries
from trimtab.steering.steering import Steering, given

__all__ = ["WAYS", "Way", "bake"]

_LEAST_TO_FIT_ON = 10  # of which two choose how strongly to shrink
_USE = "AutoModelForCausalLM.from_pretrained({place!r}{trust})"


def bake(
    model: Model,
    steering: Steering,
    out: str | Path,
    *,
    way: Way | None = None,
    check: int = 4,
    fit_on: int = 48,
    test: int = 24,
    max_new_tokens: int = 128,
    progress: Progress = False,
) -> Baked:
    """Write a checkpoint of transformers that does, unsteered, what a model does with a steering.

    Two ways are exact, but for rounding. `"bias"` takes vectors that are added to all tokens, where the architecture
    has a bias at a block's last projection or a switch in its config for one: weights like any others, for every
    runtime. `"module"` takes every edit: a file of code in the folder puts them behind the blocks; it is opened by
    `trust_remote_code=True` and needs no trimtab. `"fitted"` is near only, and taken only if it is asked for: gates
    too become weights like any others, a change of the last projection that is fitted to the steered model's answers.

    Args:
        model: An engine over transformers, or a model of transformers with its tokenizer. It is left as it was.
        steering: What to bake, a composition too; of this model.
        out: The folder. It must be missing or empty, or one that was baked before, which is replaced.
        way: `"bias"`, `"module"` or `"fitted"`; None takes the first exact one that the steering and the architecture
            allow.
        check: For the exact ways: open the checkpoint again and compare so many answers with those of the steered
            model, before it takes its place; 0 leaves that out.
        fit_on: For `"fitted"`: how many questions are answered to fit on.
        test: For `"fitted"`: how many other questions the plain, steered and baked model answer, to say how near
            it is; 0 leaves that out.
        max_new_tokens: For `"fitted"`: the longest of these answers, in tokens.
        progress: See `trimtab.progress.Progress`.

    Returns:
        What was written, and why a way that comes before was not taken.

    Raises:
        SteeringError: The steering changes nothing, has a condition, is of another model, or cannot go the way that was
            asked for.
        ModelError: The model cannot be written, or what was written is not the steered model.
        TrimtabError: The folder cannot be written.
    """
    out = arguments.place(out, "out", TrimtabError)
    check_out(out)
    engine = as_engine(model)
    if not isinstance(engine, TransformersEngine):
        raise ModelError("baking writes a model of transformers; load it with the engine transformers")
    for what, number, least in (("check", check, 0), ("test", test, 0), ("fit_on", fit_on, _LEAST_TO_FIT_ON)):
        arguments.whole(number, f"{what} (a number of questions)", SteeringError, least=least)
    arguments.whole(max_new_tokens, "max_new_tokens", SteeringError, least=1)
    given(steering).check_model(engine.identity)
    edits = edits_to_bake(steering)

    with shown(progress) as tell, replaced(out) as folder:
        chosen = choose(engine, edits, way, _fitting(engine, steering, fit_on, max_new_tokens, tell))
        checked = approximation = None
        with chosen.prepared(folder) as checkpoint:
            _write(engine, checkpoint, folder)
            if chosen.fit is None and check:
                tell("checking", 0)
                checked = _checked(engine, steering, _opened(engine, checkpoint, folder), check)
            if chosen.fit is not None:
                divergence = answered = None
                if test:
                    baked_engine = TransformersEngine(
                        _opened(engine, checkpoint, folder), engine.tokenizer, model_id="baked"
                    )
                    divergence, answered = measuring.compared(
                        engine, baked_engine, steering, test, max_new_tokens, prefixed(tell, "testing")
                    )
                approximation = Approximation(chosen.fit.tokens, chosen.fit.explained, divergence, answered)
        trust = ", trust_remote_code=True" if chosen.way == "module" else ""
        baked = Baked(
            path=out,
            way=chosen.way,
            exact=chosen.fit is None,
            where=chosen.where,
            architecture=str(checkpoint.config.model_type),
            refused=chosen.refused,
            check=checked,
            use=_USE.format(place=str(out), trust=trust),
            approximation=approximation,
        )
        write_text(folder / RECORD, _record(baked, steering))
        write_text(folder / "README.md", card(baked, steering))
    return baked


def _fitting(
    engine: TransformersEngine, steering: Steering, count: int, max_new_tokens: int, tell: Tell
) -> Fitting:
    """Fits on the steered model's answers to learning questions."""

    def fit(projection: str, with_bias: bool) -> fitted.Fit:
        queries = default_queries(engine.identity, "learning", count)
        told = prefixed(tell, "answers to fit on")
        answers = engine.generate(queries, steering=steering, max_new_tokens=max_new_tokens, progress=told)
        rows = [
            [*prompt_ids(engine.tokenizer, query), *answer.token_ids]
            for query, answer in zip(queries, answers, strict=True)
        ]
        return fitted.fit(engine, steering, projection, rows, with_bias=with_bias, tell=tell)

    return fit


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


def _opened(engine: TransformersEngine, checkpoint: Checkpoint, folder: Path) -> Any:
    """What was written, read again by its class."""
    with quiet_bars():
        return checkpoint.kind.from_pretrained(folder, dtype=engine.model.dtype).to(engine.device).eval()


def _checked(engine: TransformersEngine, steering: Steering, opened: Any, count: int) -> Check:
    """The checkpoint beside the model it was made of."""
    prompts = default_queries(engine.identity, "validation", count)
    return compared(
        Answers.of(engine, prompts, engine.model, steering),
        Answers.of(engine, prompts, engine.model, None),
        Answers.of(engine, prompts, opened, None),
        engine.model.dtype,
    )


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
