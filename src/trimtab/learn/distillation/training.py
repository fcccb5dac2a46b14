"""The loop that learns edits: batches of like length, Adam with linear decay, held-out loss, a state to resume from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trimtab.engines.ranks import Ranks
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError
from trimtab.learn.distillation.freezing import Frozen
from trimtab.learn.distillation.lessons import Lesson
from trimtab.learn.distillation.loss import divergence_of, loss_and_gradient
from trimtab.learn.distillation.room import lessons_at_once
from trimtab.learn.distillation.saved_state import part_of, read_state, write_state
from trimtab.learn.distillation.schedule import Pace, Schedule, Step
from trimtab.learn.distillation.targets import (
    AtOnce,
    Rows,
    Targets,
    answer_logits,
    pad,
    teacher_targets,
)
from trimtab.learn.distillation.trainable import TrainableEdits, size_of
from trimtab.progress import Tell, silent
from trimtab.steering.hooks import Steered

if TYPE_CHECKING:
    from trimtab.engines.base import Engine, Prompt
    from trimtab.steering.edits import Edit

Watch = Callable[[Step, Callable[[], "tuple[Edit, ...]"]], None]
"""Is shown a step of a course, and what gives the edits as they are then. It may run the model; what it raises ends the
course, which can be resumed."""

_PATIENCE = 2  # checks without a better one before the course ends


@dataclass
class Course:
    """One course of training: given edits, lessons and a schedule, the edits that did best on held-out lessons.

    Attributes:
        engine: The model.
        edits: What is learned; changed in place.
        lessons: What to learn from.
        held_out: What to measure on.
        schedule: How.
        ranks: The processes that share the work.
        at_once: Lessons of a step that go through the model together; None: all of them, or as many as fit into memory.
        history: Every step so far.
        best: The lowest held-out loss so far.
        targets: What the teacher expects in each lesson, held-out ones after the others; found by `run` where there is
            nothing. Courses over the same lessons may share it.
        pace: What the schedule comes to for these.
    """

    engine: TransformersEngine
    edits: TrainableEdits
    lessons: Sequence[Lesson]
    held_out: Sequence[Lesson]
    schedule: Schedule
    ranks: Ranks
    at_once: int | None = None
    history: list[Step] = field(default_factory=list)
    best: float = math.inf
    targets: dict[int, Targets] = field(default_factory=dict)
    pace: Pace = field(init=False)

    def __post_init__(self) -> None:
        # All begin alike, also where the same sums come out a little different on another device.
        beginning = self.ranks.merge(dict(self.edits.state_dict()) if self.ranks.is_first else {})
        self.edits.load_state_dict(beginning)
        self.pace = self.schedule.fitted(
            edits=self.edits.size,
            tokens=sum(len(one.answer) for one in self.lessons) / len(self.lessons),
            near=all(one.is_near for one in self.lessons),
        )
        self._at_once = AtOnce(min(self.at_once or self.pace.batch_size, self.pace.batch_size))
        self._all = [*self.lessons, *self.held_out]
        self._kept = self._copy()
        self._name = self._digest()
        device = self.engine.device
        self.edits.to(device)
        self._optimiser = torch.optim.Adam(self.edits.groups(self.pace.rate, self.pace.gate_rate))
        self._rates = [group["lr"] for group in self._optimiser.param_groups]

    def run(
        self,
        tell: Tell = silent,
        stage: str = "learning",
        *,
        folder: Path | None = None,
        checkpointing: bool = False,
        watch: Watch | None = None,
    ) -> None:
        """Train to the end, and leave the edits as they were when the held-out loss was lowest.

        Args:
            tell: Told of every step, with its loss.
            stage: What the steps are called.
            folder: Where the state is saved, and resumed from if there is one of the same course.
            checkpointing: Compute block activations again in the backward pass instead of keeping them.
            watch: Shown every step, and the edits so far.

        Raises:
            ModelError: A single lesson does not fit into memory, or the loss is not finite.
        """
        if folder is not None:
            self._resume(folder)
        steps = self.pace.steps
        with Frozen(self.engine, checkpointing):
            self._teach(tell)
            self._make_room()
            tell(stage, len(self.history), steps)
            checks = {round(steps * (number + 1) / self.pace.checks) for number in range(self.pace.checks)}
            for number in range(len(self.history), steps):
                if self._stalled():
                    break
                loss = self._step(number)
                held_out = self._measure() if number + 1 in checks and self.held_out else None
                self.history.append(Step(number + 1, steps, loss, held_out))
                if held_out is not None and held_out < self.best:
                    self.best, self._kept = held_out, self._copy()
                done = number + 1
                if folder is not None and done % self.schedule.save_every == 0 and self.ranks.is_first:
                    self._save(folder)
                tell(stage, done, steps, f"loss {loss:.3f}")
                if watch is not None:
                    watch(self.history[-1], self.edits.edits)
        if self.best < math.inf:
            self.edits.load_state_dict(self._kept)

    def _stalled(self) -> bool:
        measured = [step.held_out for step in self.history if step.held_out is not None]
        return len(measured) > _PATIENCE and min(measured[-_PATIENCE:]) > min(measured)

    def _teach(self, tell: Tell) -> None:
        """What the teacher expects, by all processes together."""
        if self.targets:
            return
        order = sorted(
            range(len(self._all)), key=lambda one: len(self._all[one].teacher + self._all[one].answer)
        )
        found = teacher_targets(
            self.engine,
            self._all,
            self.ranks.share(order),
            self._at_once,
            top=self.schedule.top,
            answer_weight=self.schedule.answer_weight,
            tell=tell,
        )
        self.targets.update(self.ranks.merge(found))

    def _make_room(self) -> None:
        """Fewer lessons at once where the memory of a CPU would not hold what their gradients need."""
        sizes = [len(one.context) + len(one.answer) for one in self._all]
        rows = self._rows_of([sizes.index(max(sizes))])

        def longest() -> Tensor:
            with self._steered(rows):
                return answer_logits(self.engine, rows)

        self._at_once.rows = lessons_at_once(self.engine, self._at_once.rows, longest, self.ranks.count)

    def _step(self, number: int) -> float:
        for group, rate in zip(self._optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * self.pace.share(number)
        batch = self._batch(number)
        tokens = sum(len(self.lessons[one].answer) for one in batch)
        mine = self.ranks.share(batch)
        loss = self._at_once.fit(lambda rows: self._gradients(mine, tokens, rows))
        learned = self.edits.learned()
        gradients = [parameter.grad for parameter in learned if parameter.grad is not None]
        total = torch.tensor([loss], device=self.engine.device)
        self.ranks.add([total, *gradients])
        if not math.isfinite(float(total)):
            raise ModelError(
                f"the loss of step {number + 1} is not finite: load the model in bfloat16 or float32, or lower the "
                f"learning rate ({self.pace.rate:g})"
            )
        torch.nn.utils.clip_grad_norm_(learned, self.schedule.clip)
        self._optimiser.step()
        return float(total)

    def _gradients(self, batch: Sequence[int], tokens: int, at_once: int) -> float:
        """Loss per token of this process's share of a batch; leaves its gradient in the parameters."""
        # Zeros, not None: a process without a share still takes part in the sum.
        for parameter in self.edits.learned():
            parameter.grad = torch.zeros_like(parameter)
        loss = 0.0
        for start in range(0, len(batch), at_once):
            part = batch[start : start + at_once]
            rows = self._rows_of(part)
            with self._steered(rows):
                logits = answer_logits(self.engine, rows)
                wanted = [self.targets[one] for one in part]
                share, gradient = loss_and_gradient(logits, wanted, self.schedule.leak_weight, tokens)
                logits.backward(gradient)  # type: ignore[no-untyped-call]
            loss += share
        return loss

    def _steered(self, rows: Rows) -> Steered:
        place, thoughts = self.engine.decoder_blocks, self.engine.thoughts
        return self.edits.on(place, generated=rows.generated, thoughts=thoughts)

    def _measure(self) -> float:
        """Loss per token over the held-out lessons."""
        first = len(self.lessons)
        places = sorted(range(first, len(self._all)), key=lambda one: len(self._all[one].answer))
        mine = self.ranks.share(places)

        def measure(at_once: int) -> float:
            total = 0.0
            for start in range(0, len(mine), at_once):
                batch = mine[start : start + at_once]
                rows = self._rows_of(batch)
                with torch.inference_mode(), self._steered(rows):
                    logits = answer_logits(self.engine, rows)
                    total += divergence_of(logits, [self.targets[one] for one in batch])
            return total

        loss = torch.tensor([self._at_once.fit(measure)], device=self.engine.device)
        self.ranks.add([loss])
        return float(loss) / sum(len(self._all[one].answer) for one in places)

    def _rows_of(self, batch: Sequence[int]) -> Rows:
        lessons = [self._all[one] for one in batch]
        return pad(
            [lesson.context for lesson in lessons], [lesson.answer for lesson in lessons], self.engine.device
        )

    def _batch(self, number: int) -> list[int]:
        """The lessons of a step: any step's can be told without those before it."""
        size = min(self.pace.batch_size, len(self.lessons))
        per_epoch = len(self.lessons) // size
        epoch, place = divmod(number, per_epoch)
        rng = random.Random(f"{self.schedule.seed}/epoch/{epoch}")
        order = rng.sample(range(len(self.lessons)), len(self.lessons))
        batches = []
        for start in range(0, per_epoch * size, 4 * size):  # like lengths together, chance among four batches
            chunk = order[start : min(start + 4 * size, per_epoch * size)]
            chunk.sort(key=lambda one: len(self.lessons[one].context) + len(self.lessons[one].answer))
            batches += [chunk[begin : begin + size] for begin in range(0, len(chunk), size)]
        rng.shuffle(batches)
        return batches[place]

    # --- state ----------------------------------------------------------------------------------------------------

    def _copy(self) -> dict[str, Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.edits.state_dict().items()}

    def _save(self, folder: Path) -> None:
        tensors = {f"now.{name}": value for name, value in self._copy().items()}
        tensors |= {f"kept.{name}": value for name, value in self._kept.items()}
        for number, state in self._optimiser.state_dict()["state"].items():
            tensors |= {f"adam.{number}.{key}": value.detach().cpu().clone() for key, value in state.items()}
        history = [[step.step, step.loss, step.held_out] for step in self.history]
        best = self.best if self.held_out else None
        write_state(folder, {"course": self._name, "best": best, "history": history}, tensors)

    def _resume(self, folder: Path) -> None:
        found: dict[str, Any] = {}
        # The first process reads for all, as only it writes: the others may see another disk.
        if self.ranks.is_first and (state := read_state(folder)) is not None:
            found["document"], found["tensors"] = state
        found = self.ranks.merge(found)
        if not found or found["document"]["course"] != self._name:
            return  # nothing, or of other lessons or settings: begin anew, and write over it
        document, tensors = found["document"], found["tensors"]
        self.edits.load_state_dict(part_of(tensors, "now."))
        self._kept = part_of(tensors, "kept.")
        self.best = math.inf if document["best"] is None else document["best"]
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in part_of(tensors, "adam.").items():
            number, key = name.split(".", 1)
            states.setdefault(int(number), {})[key] = value
        self._optimiser.load_state_dict({**self._optimiser.state_dict(), "state": states})
        self.history = [
            Step(number, self.pace.steps, loss, held_out) for number, loss, held_out in document["history"]
        ]

    def _digest(self) -> str:
        """What course this is: a digest of all that decides where it goes."""
        parts: list[Any] = [dataclasses.asdict(self.schedule), self.engine.identity.to_dict()]
        parts += [dataclasses.asdict(lesson) for lesson in self._all]
        parts += [
            self.edits.form,
            self.edits.scopes,
            {name: value.tolist() for name, value in self._kept.items()},
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def trainable_engine(engine: Engine) -> TransformersEngine:
    """The engine, as one that gradients pass through.

    Raises:
        ModelError: They do not.
    """
    if not isinstance(engine, TransformersEngine):
        raise ModelError(
            f"distillation needs gradients, which a {type(engine).__name__} has none of; load it with trimtab.load"
        )
    return engine


def scales_of(engine: TransformersEngine, prompts: Sequence[Prompt]) -> dict[int, float]:
    """The size of a coordinate of each block's output (`size_of`), over some prompts."""
    some = engine.capture(prompts[:8], positions="all", keep=True)
    if some.activations is None:
        raise ModelError(f"{engine.identity.id} kept no activations")
    return {block: size_of(some.activations[:, block]) for block in range(some.activations.shape[1])}
