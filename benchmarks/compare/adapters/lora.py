"""LoRA of rank 4, trained on the same lessons as our edits, with the same steps, by the same loop.

E. Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022; by peft, in every linear layer of the
blocks, `alpha` twice the rank. Two ways to train it:

- `lora`: the answers of the lessons alone count, as in supervised fine-tuning (cross entropy), whatever held them;
- `lora-baked`: the teacher's distributions at their tokens count, and the answers do not (KL), as in prompt baking (A.
  Bhargava et al.: Prompt Baking, 2024), which moves a prompt into weights.

The lessons are those of `trimtab learn`, with prompts that hold the instruction already, or another one, among them.
The learning rate is ten times the usual one, as there are fewer steps; of the weights those are kept whose loss on
held-out lessons was lowest. What is tried on validation questions is the strength of the adapter, as with all that is
learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.compare.shared import lessons, schedule
from benchmarks.compare.task import Candidate, Method, Task
from trimtab.engines.ranks import Ranks
from trimtab.learn.distillation.lessons import Lesson
from trimtab.learn.distillation.training import Course

RANK = 4
RATE = 2e-3
AT_ONCE = 4
"""Lessons that go through the model together, of the sixteen of a step. Every linear layer keeps what it was given for
the way back, in float32 beside the model's own dtype: 1.3 MB a token of SmolLM2, where edits keep 0.7."""
STRENGTHS = (1.0, 0.75, 1.5)

Weights = dict[str, Tensor]


def candidates(answer_weight: float, task: Task) -> Sequence[Candidate]:
    """The adapter as it is and a little weaker and stronger."""
    material = lessons(task)
    taught, held_out = (
        [as_answer(one) for one in some] if answer_weight == 1.0 else some
        for some in (material.lessons.lessons, material.examples.lessons)
    )
    adapter = Adapter(task.engine.model, task.settings.seed)
    with adapter.inside():
        Course(
            task.engine,
            cast("Any", adapter),  # what a course asks of its edits, an adapter has
            taught,
            held_out,
            schedule(task, answer_weight=answer_weight, rate=RATE),
            Ranks(),
            at_once=AT_ONCE,
        ).run()
    weights = adapter.state_dict()
    numbers = sum(one.numel() for one in weights.values())
    return [
        Candidate(
            {"strength": strength},
            native=partial(adapter.acting, strength),
            weights=(numbers, _bytes(weights)),
        )
        for strength in STRENGTHS
    ]


def as_answer(lesson: Lesson) -> Lesson:
    """The same, of which nothing but its answer is learned.

    What a constraint held or a program changed teaches a distribution in the place of its answer otherwise.
    """
    return replace(lesson, constraint=None, drawn=False, original=())


class Adapter(nn.Module):
    """Low-rank matrices beside the linear layers of a model, as what a course of training learns.

    The layers are made by peft. They take the places of the model's own inside `inside` only, and act in them inside
    `on`; so a model is outside what it was, and no measurement of speed counts the making.

    Args:
        model: A causal language model of transformers.
        seed: Draws the matrices that do not begin at zero.
    """

    form = "lora"
    is_scoped = False

    def __init__(self, model: Any, seed: int) -> None:
        super().__init__()
        self._places = _layers(model, seed)
        self.matrices = nn.ParameterDict(
            {
                f"{number}/{side}": getattr(layer, f"lora_{side}")["default"].weight
                for number, (_, _, layer, _) in enumerate(self._places)
                for side in ("A", "B")
            }
        )
        self._act(False)

    @property
    def size(self) -> int:
        """One: the rate is given, and does not follow from a number of edits."""
        return 1

    @property
    def scopes(self) -> dict[int, list[str]]:
        """Of no edit."""
        return {}

    def groups(self, rate: float, gate_rate: float) -> list[dict[str, Any]]:
        """Parameter groups for an optimiser."""
        return [{"params": self.learned(), "lr": rate}]

    def learned(self) -> list[nn.Parameter]:
        """The parameters that are learned."""
        return list(self.matrices.values())

    @contextmanager
    def inside(self) -> Iterator[None]:
        """A context in which the layers are the model's."""
        for parent, name, layer, _ in self._places:
            setattr(parent, name, layer)
        try:
            yield
        finally:
            for parent, name, _, own in self._places:
                setattr(parent, name, own)

    @contextmanager
    def on(self, model: object, *, generated: object = None, thoughts: object = None) -> Iterator[None]:
        """A context in which they act in every forward pass, at every token, with gradients."""
        self._act(True)
        try:
            yield
        finally:
            self._act(False)

    @contextmanager
    def acting(self, strength: float) -> Iterator[None]:
        """A context in which a model answers under what was learned, so many times as strong."""
        for _, _, layer, _ in self._places:
            layer.scaling["default"] *= strength
        try:
            with self.inside(), self.on(None):
                yield
        finally:
            for _, _, layer, _ in self._places:
                layer.scaling["default"] /= strength

    def _act(self, acting: bool) -> None:
        for _, _, layer, _ in self._places:
            layer.enable_adapters(acting)
        for matrix in self.matrices.values():
            matrix.requires_grad_(acting)


def _layers(model: Any, seed: int) -> list[tuple[Any, str, Any, Any]]:
    """For each linear layer but the head: what holds it, its name there, peft's layer in its place, and itself."""
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer

    wanted = [weight for weight in model.parameters() if weight.requires_grad]
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules="all-linear", task_type="CAUSAL_LM")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wrapped = get_peft_model(model, config)
    made = {name: one for name, one in model.named_modules() if isinstance(one, LoraLayer)}
    places = []
    for path, layer in made.items():
        parent, _, name = path.rpartition(".")
        places.append((model.get_submodule(parent), name, layer, layer.get_base_layer()))
    wrapped.unload()
    for name in ("peft_config", "_hf_peft_config_loaded"):
        if name in vars(model):
            delattr(model, name)
    for weight in wanted:
        weight.requires_grad_(True)
    return places


def _bytes(weights: Weights) -> int:
    from safetensors.torch import save

    return len(save({name: one.contiguous() for name, one in weights.items()}))


METHODS = [
    Method("lora", "LoRA of rank 4 (peft)", partial(candidates, 1.0), "Hu et al. 2022", ("peft",)),
    Method(
        "lora-baked",
        "LoRA of rank 4, prompt baking",
        partial(candidates, 0.0),
        "after Bhargava et al. 2024",
        ("peft",),
    ),
]
