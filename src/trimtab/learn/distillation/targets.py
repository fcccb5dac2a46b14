"""What the student is to expect at every token of an answer, kept small.

The aim is the teacher's distribution *given that its answer follows the instruction*. The teacher's own distribution
t is not that: where an unfinished answer can still go wrong, part of t goes wrong. What is known of the other is the
answer y that passed the check. So the target mixes both,

    q = (1 - w) t + w onehot(y)

with w = 1 at tokens where the teacher would rather have said something else than y, and a fixed w below 1 elsewhere.
(w = 0 is plain knowledge distillation: G. Hinton, O. Vinyals, J. Dean, Distilling the Knowledge in a Neural Network,
2015; w = 1 is fine-tuning on verified samples: E. Zelikman et al., STaR, 2022.)

Under a constraint, t is the teacher's distribution without the tokens that are forbidden at that place, renormalised.
An answer that was drawn from it passes for that alone, and says no more: there w is 0. Nor does one that a program
rewrote say more where it was left as it was: there t is the teacher's distribution at the same place of the original,
and where the program put something in, w is 1. The loss (`loss`) at one token is KL(q || s).

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

from trimtab.errors import ModelError, is_out_of_memory
from trimtab.learn.distillation.aligning import aligned
from trimtab.learn.distillation.lessons import Lesson
from trimtab.progress import Tell, silent

if TYPE_CHECKING:
    from trimtab.engines.transformers import TransformersEngine
    from trimtab.steering.steering import Steering

Result = TypeVar("Result")

LEAST = 1e-9  # a rest's mass below this is rounding
_LEAK = 1e-3  # of the probability, that a free teacher gives to what is forbidden; below, nobody would say it


@dataclass(frozen=True)
class Targets:
    """The target distributions q over the tokens of one answer.

    Attributes:
        tokens: `[T, k]` int32, the likeliest tokens.
        log_probs: `[T, k]` float32, the logarithms of their probabilities.
        rest: `[T]` float32, the logarithm of the mass of all others.
        leaks: `[M]` int64, the places at which the teacher, had it been free, would have said what its constraint
            forbids, with a probability of at least a thousandth; None without a constraint.
        may: `[M, W]` int32, one bit for each token: what may stand there (`engines.constraining`).
    """

    tokens: Tensor
    log_probs: Tensor
    rest: Tensor
    leaks: Tensor | None = None
    may: Tensor | None = None


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
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
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


def answer_logits(engine: TransformersEngine, rows: Rows) -> Tensor:
    """`[tokens, vocabulary]` in the model's dtype: its logits at the answers' tokens, row after row."""
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
        return logits.squeeze(0)
    return logits[asked.to(logits.device)]  # a model that computes them in another way


def teacher_targets(
    engine: TransformersEngine,
    lessons: Sequence[Lesson],
    order: Sequence[int],
    at_once: AtOnce,
    *,
    top: int,
    answer_weight: float,
    steering: Steering | None = None,
    tell: Tell = silent,
) -> dict[int, Targets]:
    """What the student shall expect, computed once: by the place of each lesson, on the CPU.

    Args:
        engine: The model.
        lessons: The lessons.
        order: The places of those that are wanted, in the order in which they go through the model.
        at_once: How many go through it together.
        top: As in `Schedule`; all tokens are kept if the vocabulary is no larger.
        answer_weight: As in `Schedule`, the weight w where the answer's token is also the teacher's first choice.
        steering: Of a teacher that is steered.
        tell: Told how many answers have gone through it.
    """
    # A student that is told expects what one that is not told does.
    alike: dict[tuple[object, ...], list[int]] = {}
    for place in order:
        one = lessons[place]
        what = (one.teacher, one.answer, one.constraint, one.drawn, one.ended, one.original)
        alike.setdefault(what, []).append(place)
    different = [places[0] for places in alike.values()]

    def taught(count: int) -> dict[int, Targets]:
        found = {}
        for start in range(0, len(different), count):
            tell("reading the answers as the teacher", start, len(different))
            batch = different[start : start + count]
            several = [lessons[one] for one in batch]
            read = [one.original or one.answer for one in several]
            rows = pad([one.teacher for one in several], read, engine.device)
            steered: AbstractContextManager[object] = nullcontext()
            if steering is not None:
                lengths = [len(one.teacher) for one in several]
                steered = engine.steered([steering] * len(batch), lengths)
            with torch.inference_mode(), steered:
                parts = torch.split(answer_logits(engine, rows), [len(one) for one in read])
                for one, lesson, logits in zip(batch, several, parts, strict=True):
                    free = logits.float().log_softmax(-1)
                    found[one] = _expected(engine, lesson, free, top, answer_weight)
        return found

    made = at_once.fit(taught)
    return {place: made[places[0]] for places in alike.values() for place in places}


def _expected(
    engine: TransformersEngine, lesson: Lesson, free: Tensor, top: int, answer_weight: float
) -> Targets:
    """What the student expects in a lesson, of the teacher's `[T, vocabulary]` log-probabilities."""
    leaks = may = known = None
    if lesson.original:
        known, free = _at_same_places(engine, lesson, free)
    held = free
    if lesson.constraint is not None:
        from trimtab.engines.constraining import allowed, restrained, unpacked

        packed = allowed(engine, lesson.constraint, lesson.answer).to(free.device)
        held = restrained(engine, lesson.constraint, free, packed)
        forbidden = free.exp().masked_fill(unpacked(packed, free.shape[-1]), 0.0).sum(-1)
        forbidden = forbidden if known is None else forbidden * known
        leaks = (forbidden >= _LEAK).nonzero()[:, 0]
        leaks, may = leaks.cpu(), packed[leaks].cpu()
    if known is None:
        wanted = mixed(held, [lesson], answer_weight)
    else:
        wanted = _left_alone(held, known, lesson)
    best = wanted.topk(min(top, wanted.shape[-1]), dim=-1)
    rest = (1 - best.values.sum(-1)).clamp(min=LEAST).log()
    kept = best.values.clamp(min=LEAST).log()
    return Targets(best.indices.int().cpu(), kept.cpu(), rest.cpu(), leaks, may)


def _at_same_places(engine: TransformersEngine, lesson: Lesson, read: Tensor) -> tuple[Tensor, Tensor]:
    """Where a rewritten answer stands as the original did, bool `[T]`; and what the teacher expected there.

    `read` has its log-probabilities in the original, one row for each of its tokens.
    """
    end = len(lesson.answer) - lesson.ended
    original = lesson.original
    finished = original[-1] in engine.matchers.ends
    places = aligned(engine.tokenizer, original[: len(original) - finished], lesson.answer[:end])
    at = [None if place is None or place >= len(read) else place for place in places[: len(lesson.answer)]]
    known = torch.tensor([place is not None for place in at], device=read.device)
    return known, read[torch.tensor([place or 0 for place in at], device=read.device)]


def _left_alone(log_probs: Tensor, known: Tensor, lesson: Lesson) -> Tensor:
    """The target distributions of a rewritten answer: the teacher's where it would say this; elsewhere the answer."""
    said = torch.tensor(lesson.answer, device=log_probs.device)
    agreed = (known & (log_probs.argmax(-1) == said))[:, None]
    only = torch.zeros_like(log_probs).scatter_(-1, said[:, None], 1.0)
    return torch.where(agreed, log_probs.exp(), only)


def mixed(log_probs: Tensor, lessons: Sequence[Lesson], weight: float) -> Tensor:
    """The target distributions q from the teacher's, both `[tokens, vocabulary]`, lesson after lesson.

    An answer that was drawn from its distribution under a constraint says no more than that. The end token of an answer
    is left to the teacher, as several tokens may stand for it.
    """
    device = log_probs.device
    said = torch.tensor([token for one in lessons for token in one.answer], device=device)
    weights = torch.where(log_probs.argmax(-1) == said, weight, 1.0)
    left = [
        one.drawn or (one.ended and place == len(one.answer) - 1)
        for one in lessons
        for place in range(len(one.answer))
    ]
    weights = weights.masked_fill(torch.tensor(left).to(device), 0.0)[:, None]
    return (log_probs.exp() * (1 - weights)).scatter_add(-1, said[:, None], weights)
