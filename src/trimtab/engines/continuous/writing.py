"""Answers to a list of prompts, by the running batch: a row that has ended makes room for the next prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from trimtab.engines.constraining import Start
from trimtab.engines.continuous.asks import Ask
from trimtab.engines.continuous.batch import RunningBatch
from trimtab.engines.decoding import Written
from trimtab.engines.finite import NotFiniteError, blamed
from trimtab.steering.edits import Edit

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine

_PATIENCE = 16  # nobody waits for a single answer here


def write(
    engine: TransformersEngine,
    prompts: Sequence[Sequence[int]],
    edits: Sequence[Sequence[Edit]],
    starts: Sequence[Start | None],
    max_new_tokens: int,
    max_rows: int,
    told: Callable[[int, int, str], None],
) -> list[Written]:
    """The most likely answer to each prompt, given as token ids.

    Args:
        engine: What runs the model.
        prompts: The prompts.
        edits: What steers each.
        starts: What holds the answer to each; None where nothing does.
        max_new_tokens: The longest answer.
        max_rows: How many are answered at once.
        told: Is told at every step how many of how many are answered, and how many tokens are written.

    Raises:
        ModelError: An answer cannot be held to its constraint any further, or memory does not suffice for one.
    """
    batch = RunningBatch(engine, max_rows, patience=_PATIENCE, isolates=False)
    # The longest first, so that a lack of memory shows at once.
    order = sorted(range(len(prompts)), key=lambda row: -len(prompts[row]))
    rows = {
        row: batch.submit(
            Ask(prompts[row], edits[row], max_new_tokens=max_new_tokens, constraint=starts[row])
        )
        for row in order
    }
    done = tokens = 0
    while not batch.is_idle:
        told(done, len(prompts), f"{tokens} tokens" if tokens else "")
        for event in batch.step():
            if event.error is not None:
                number = next(row for row, one in rows.items() if one is event.running)
                if isinstance(event.error.__cause__, NotFiniteError):
                    place, steered = engine.decoder_blocks, bool(edits[number])
                    raise blamed(engine.model, place, engine.identity.id, number, steered=steered)
                raise event.error
            done += event.ended is not None
            tokens += event.token is not None
    told(done, len(prompts), f"{tokens} tokens")
    answers = (rows[row] for row in range(len(prompts)))
    return [Written(tuple(one.token_ids), one.ended == "stop", one.taken) for one in answers]
