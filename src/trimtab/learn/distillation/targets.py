"""What the student is to expect at every token of an answer, kept small, and how far it is from that.

The aim is the teacher's distribution *given that its answer follows the instruction*. The teacher's own distribution
t is not that: where an unfinished answer can still go wrong, part of t goes wrong. What is known of the other is the
answer y that passed the check. So the target mixes both,

    q = (1 - w) t + w onehot(y)

with w = 1 at tokens where the teacher would rather have said something else than y, and a fixed w below 1 elsewhere.
(w = 0 is plain knowledge distillation: G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network,
2015; w = 1 is fine-tuning on verified samples: E. Zelikman et al., STaR, 2022.)

Under a constraint, t is the teacher's distribution without the tokens that are forbidden at that place, renormalised.
An answer that was drawn from it passes for that alone, and says little more: there w is small at all tokens. The loss
at one token is

    KL(q || s) = sum_i q_i (log q_i - log s_i)

Of q the `k` likeliest tokens are kept, and the mass of the rest, taken as one more token: a lower bound of the whole
divergence, tight where the rest is small.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from trimtab.errors import ModelError
from trimtab.learn.distillation.lessons import Lesson

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.steering.steering import Steering

Result = TypeVar("Result")

_LEAST = 1e-9  # a rest's mass below this is rounding
_DRAWN = 0.4  # of the weight of an answer, where it says no more than the distribution it was drawn from


@dataclass(frozen=True)
class Targets:
    """The target distributions q over the tokens of one answer.

    Attributes:
        tokens: `[T, k]` int32, the likeliest tokens.
        log_probs: `[T, k]` float32, the logarithms of their probabilities.
        rest: `[T]` float32, the logarithm of the mass of all others.
    """

    tokens: Tensor
    log_probs: Tensor
    rest: Tensor


@dataclass(frozen=True)
class Rows:
    """A batch of lessons, padded on the right, where a causal model does not look.

    Attributes:
        ids: `[rows, T]` int64.
        answers: Bool `[rows, T]`: at these tokens the *next* one belongs to the answer.
        generated: Bool `[rows, T]`: these tokens belong to the answer.
    """

    ids: Tensor
    answers: Tensor
    generated: Tensor


class AtOnce:
    """How many lessons go through a model at once: half as many whenever so many do not fit into memory."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def fit(self, work: Callable[[int], Result]) -> Result:
        """What `work` gives, told how many lessons at once fit into memory.

        Raises:
            ModelError: A single one does not.
        """
        while True:
            try:
                return work(self.rows)
            except torch.OutOfMemoryError as error:
                if self.rows == 1:
                    raise ModelError(
                        "a single answer does not fit into memory with what its gradient needs; use gradient "
                        "checkpointing (--gradient-checkpointing), a smaller dtype, or shorter answers "
                        "(--max-new-tokens)"
                    ) from error
            self.rows = math.ceil(self.rows / 2)


def pad(prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], device: torch.device) -> Rows:
    """Put prompts and answers into one batch; widths are multiples of 16, of which a CPU builds few kernels."""
    longest = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)) - 1
    width = -(-longest // 16) * 16
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    asked = torch.zeros(len(prompts), width, dtype=torch.bool)
    generated = torch.zeros(len(prompts), width, dtype=torch.bool)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        # The last token of the answer is only predicted.
        whole = torch.tensor([*prompt, *answer[:-1]])
        ids[row, : len(whole)] = whole
        asked[row, len(prompt) - 1 : len(whole)] = True
        generated[row, len(prompt) : len(whole)] = True
    return Rows(ids.to(device), asked.to(device), generated.to(device))


def answer_log_probs(engine: TransformersEngine, rows: Rows) -> Tensor:
    """`[tokens, vocabulary]` float32: the model's log-probabilities at the answers' tokens, row after row."""
    asked = rows.answers
    head, count = engine.model.get_output_embeddings(), int(asked.sum())

    # The head is given those tokens only, as one row: of several rows, cut out, it would copy its weights for each.
    def choose(module: Any, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (given[0][asked.to(given[0].device)][None], *given[1:])

    chosen = (
        nullcontext()
        if head is None or head is engine.model.get_input_embeddings()
        else head.register_forward_pre_hook(choose)
    )
    with chosen:
        logits: Tensor = engine.model(input_ids=rows.ids, use_cache=False).logits
    if logits.shape[:2] == (1, count) and logits.shape[:2] != asked.shape:
        found = logits[0]
    else:  # a model that computes them in another way
        found = logits[asked.to(logits.device)]
    return found.float().log_softmax(-1)


def teacher_targets(
    engine: TransformersEngine,
    lessons: Sequence[Lesson],
    order: Sequence[int],
    at_once: AtOnce,
    *,
    top: int,
    answer_weight: float,
    steering: Steering | None = None,
) -> dict[int, Targets]:
    """What the student shall expect, computed once: by the place of each lesson, on the CPU.

    Args:
        engine: The model.
        lessons: The lessons.
        order: The places of those that are wanted, in the order in which they go through the model.
        at_once: How many go through it together.
        top: As in `Schedule`; all tokens are kept if the vocabulary is no larger.
        answer_weight: As in `Schedule`, the weight w where the answer's token is also the teacher's first choice; of
            answers that were drawn under a constraint, w is less than half of it at all tokens.
        steering: Of a teacher that is steered.
    """

    def taught(count: int) -> dict[int, Targets]:
        found = {}
        for start in range(0, len(order), count):
            batch = order[start : start + count]
            several = [lessons[one] for one in batch]
            answers = [one.answer for one in several]
            rows = pad([one.teacher for one in several], answers, engine.device)
            steered: AbstractContextManager[object] = nullcontext()
            if steering is not None:
                lengths = [len(one.teacher) for one in several]
                steered = engine.steered([steering] * len(batch), lengths)
            with torch.inference_mode(), steered:
                log_probs = held(engine, answer_log_probs(engine, rows), several)
                wanted = mixed(log_probs, several, answer_weight)
                best = wanted.topk(min(top, wanted.shape[-1]), dim=-1)
                rest = (1 - best.values.sum(-1)).clamp(min=_LEAST).log()
                kept = best.values.clamp(min=_LEAST).log()
            parts = [len(answer) for answer in answers]
            pieces = (torch.split(tensor.cpu(), parts) for tensor in (best.indices.int(), kept, rest))
            for one, tokens, values, others in zip(batch, *pieces, strict=True):
                found[one] = Targets(tokens, values, others)
        return found

    return at_once.fit(taught)


def held(engine: TransformersEngine, log_probs: Tensor, lessons: Sequence[Lesson]) -> Tensor:
    """Log-probabilities `[tokens, vocabulary]`, lesson after lesson, held to the constraint of each that has one.

    What the constraint forbids at a token gets minus infinity, and the rest is renormalised.

    Raises:
        PromptError: An answer leaves its constraint.
    """
    if all(one.constraint is None for one in lessons):
        return log_probs
    from trimtab.engines.constraining import allowed, unpacked

    parts = list(torch.split(log_probs, [len(one.answer) for one in lessons]))
    for number, one in enumerate(lessons):
        if one.constraint is not None:
            packed = allowed(engine, one.constraint, one.answer).to(log_probs.device)
            may = unpacked(packed, log_probs.shape[-1])
            parts[number] = parts[number].masked_fill(~may, -torch.inf).log_softmax(-1)
    return torch.cat(parts)


def mixed(log_probs: Tensor, lessons: Sequence[Lesson], weight: float) -> Tensor:
    """The target distributions q from the teacher's, both `[tokens, vocabulary]`, lesson after lesson.

    The end token of an answer is left to the teacher, as several tokens may stand for it.
    """
    device = log_probs.device
    said = torch.tensor([token for one in lessons for token in one.answer], device=device)
    weights = torch.where(log_probs.argmax(-1) == said, weight, 1.0)
    drawn = torch.tensor([one.drawn for one in lessons for _ in one.answer])
    weights = weights.masked_fill(drawn.to(device), weight * _DRAWN)
    ends = [one.ended and place == len(one.answer) - 1 for one in lessons for place in range(len(one.answer))]
    weights = weights.masked_fill(torch.tensor(ends).to(device), 0.0)[:, None]
    return (log_probs.exp() * (1 - weights)).scatter_add(-1, said[:, None], weights)


def divergence(log_probs: Tensor, targets: Sequence[Targets]) -> Tensor:
    """KL(q || student) in nats, a scalar: the sum over all tokens of a batch, of which `log_probs` has one row each."""
    device = log_probs.device
    tokens = torch.cat([one.tokens for one in targets]).to(device, torch.long)
    teacher = torch.cat([one.log_probs for one in targets]).to(device)
    rest = torch.cat([one.rest for one in targets]).to(device)
    student = log_probs.gather(-1, tokens)
    # Where the kept tokens are (nearly) all, the logarithm of what is left has no useful gradient.
    left = (1 - student.exp().sum(-1)).clamp(min=_LEAST).log()
    return (teacher.exp() * (teacher - student)).sum() + (rest.exp() * (rest - left)).sum()
