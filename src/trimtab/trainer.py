"""A callback of transformers' `Trainer`: steer while it evaluates, and not while it trains.

    trainer = Trainer(model, args, ..., callbacks=[SteerWhileEvaluating(steering)])

A trainer says when an evaluation is due, and nothing when it begins: so the steering is put on where one is due, and
taken off before the next step. That it was on is checked at every batch.
"""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback

from trimtab.errors import ModelError
from trimtab.steering.held import Steerings, blocks_of, on
from trimtab.steering.hooked import owner_of
from trimtab.steering.hooks import Steered


class SteerWhileEvaluating(TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Steers each evaluation of a training, whose losses and metrics are then those of the steered model.

    Give it last: a callback after it that asks for an evaluation would have that unsteered, which is an error. What is
    evaluated by hand takes a context: `with steering.on(trainer.model): trainer.evaluate()`.

    Args:
        steering: One for all rows. Edits of some tokens alone need a model that writes (`predict_with_generate`).
        tokenizer: As of `trimtab.on`.
        decoder_blocks: As of `trimtab.on`.
        allow_other_model: As of `trimtab.on`.
    """

    def __init__(
        self,
        steering: Steerings,
        *,
        tokenizer: Any = None,
        decoder_blocks: str | None = None,
        allow_other_model: bool = False,
    ) -> None:
        self._steering = steering
        self._options = {
            "tokenizer": tokenizer,
            "decoder_blocks": decoder_blocks,
            "allow_other_model": allow_other_model,
        }
        self._place = decoder_blocks
        self._context: Steered | None = None

    def off(self) -> None:
        """Take the steering off now: after an evaluation that failed, say, behind which no step comes."""
        if self._context is not None:
            self._context.__exit__(None, None, None)
            self._context = None

    def _enter(self, model: Any) -> None:
        if self._context is None:
            context = on(model, self._steering, **self._options)
            context.__enter__()
            self._context = context

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, **others: Any) -> None:
        """Steers the evaluation before the first step, if there is one (`eval_on_start`)."""
        self.off()  # where an earlier training was interrupted
        if args.eval_on_start:
            self._enter(model)

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any, **others: Any) -> None:
        """Steers the evaluation that is due after this step."""
        if control.should_evaluate:
            self._enter(model)

    def on_epoch_end(self, args: Any, state: Any, control: Any, *, model: Any, **others: Any) -> None:
        """Steers the evaluation that is due after this epoch."""
        if control.should_evaluate:
            self._enter(model)

    def on_prediction_step(self, args: Any, state: Any, control: Any, *, model: Any, **others: Any) -> None:
        """Makes sure that the batch was steered."""
        if owner_of(blocks_of(model, self._place).decoder) is None:
            raise ModelError(
                "this evaluation is not steered: only those are that a training asks for, and before the callback "
                "is told, so give it last; by hand: with steering.on(trainer.model): trainer.evaluate()"
            )

    def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Nothing is trained under the steering."""
        self.off()

    def on_train_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        """Leaves the model as it was."""
        self.off()
