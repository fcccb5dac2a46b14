"""How likely continuations of given tokens are, under a steering for each row, as lm-evaluation-harness asks for it.

The choices of a question share its context: the model reads that once and goes on from its cache with each of them.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trimtab.engines.batching import length_batches, memory_budget, run_batches
from trimtab.engines.finite import UNSOUND
from trimtab.engines.footprint import Footprint
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError
from trimtab.progress import Tell
from trimtab.steering.steering import Steering

Answer = tuple[float, bool]


@dataclass(frozen=True)
class Continuation:
    """What is to be scored.

    Attributes:
        context: Token ids of what stands before it; at least one.
        tokens: Its own token ids; at least one.
        steering: What acts on the row, decided already; None for nothing.
    """

    context: tuple[int, ...]
    tokens: tuple[int, ...]
    steering: Steering | None = None


def log_likelihoods(
    engine: TransformersEngine,
    continuations: Sequence[Continuation],
    tell: Tell,
    *,
    batch_size: int | None = None,
) -> list[Answer]:
    """Scores continuations. Their tokens count as generated.

    Args:
        engine: The model.
        continuations: What to score.
        tell: Told how far it is.
        batch_size: Contexts per forward pass; None chooses by length and memory.

    Returns:
        Of each the sum of the log-probabilities of its tokens, in nats, and whether each of them is the likeliest one.
    """
    scoring = _Scoring(engine)
    shared: dict[tuple[tuple[int, ...], int], list[int]] = {}
    for number, one in enumerate(continuations):
        shared.setdefault((one.context, id(one.steering)), []).append(number)
    groups = [[continuations[number] for number in numbers] for numbers in shared.values()]
    found: list[list[Answer]] = [[] for _ in groups]
    alone = [row for row, group in enumerate(groups) if len(group) == 1 or not scoring.may_go_on(group[0])]
    together: dict[int, list[int]] = {}
    for row in sorted(set(range(len(groups))) - set(alone)):
        together.setdefault(len(groups[row][0].context), []).append(row)
    work: list[tuple[list[int], Callable[[list[list[Continuation]]], list[list[Answer]]]]] = [
        (alone, scoring.whole),
        # Contexts of one length have no padding in their cache, so that any model can go on from it.
        *((rows, scoring.in_two) for _, rows in sorted(together.items(), reverse=True)),
    ]
    done = 0
    for rows, score in work:
        batches = scoring.batches([groups[row] for row in rows], batch_size)

        def run(places: list[int], rows: list[int] = rows, score: Any = score) -> list[list[Answer]]:
            return list(score([groups[rows[place]] for place in places]))

        for places, answers in run_batches(batches, run, progress=False, stage="scoring"):
            for place, answer in zip(places, answers, strict=True):
                found[rows[place]] = answer
            done += len(places)
            tell("scoring", done, len(groups))
    results: list[Answer] = [(0.0, False)] * len(continuations)
    for numbers, scores in zip(shared.values(), found, strict=True):
        for number, value in zip(numbers, scores, strict=True):
            results[number] = value
    return results


class _Scoring:
    """Runs the model on groups of continuations that share a context and a steering.

    Rows are padded on the right, where a causal model does not look.
    """

    def __init__(self, engine: TransformersEngine) -> None:
        self._engine = engine
        self._memory = Footprint.of(engine.model, engine.identity.blocks)
        takes = inspect.signature(engine.model.forward).parameters
        self._keeps = "logits_to_keep" in takes
        self._masks = "attention_mask" in takes
        self._goes_on = "past_key_values" in takes

    def may_go_on(self, one: Continuation) -> bool:
        """Whether it may go on from the cache of a context: not for edits that want to know what was thought in it."""
        edits = () if one.steering is None else one.steering.edits
        return self._goes_on and all(edit.tokens != "answer" for edit in edits)

    def batches(self, groups: Sequence[Sequence[Continuation]], batch_size: int | None) -> list[list[int]]:
        """The groups in batches of like length."""
        rows = max((len(group) for group in groups), default=1)
        memory = self._memory
        return length_batches(
            [len(group[0].context) + max(len(one.tokens) for one in group) for group in groups],
            batch_size=batch_size,
            row_bytes=lambda tokens: tokens * (memory.activations + 2 * memory.logits + rows * memory.cache),
            budget=memory_budget(self._engine.device),
        )

    def whole(self, groups: Sequence[Sequence[Continuation]]) -> list[list[Answer]]:
        """Scores each continuation from its first token of context on."""
        rows = [one for group in groups for one in group]
        reads = [(*one.context, *one.tokens)[:-1] for one in rows]
        first = min(len(one.context) for one in rows) - 1
        logits = self._run(reads, rows, first).logits
        shift = first if self._keeps else 0
        answers = iter(
            _answer(logits[place, len(one.context) - 1 - shift : len(read) - shift], one.tokens)
            for place, (one, read) in enumerate(zip(rows, reads, strict=True))
        )
        return [[next(answers) for _ in group] for group in groups]

    def in_two(self, groups: Sequence[Sequence[Continuation]]) -> list[list[Answer]]:
        """Reads the contexts, which are of one length, and goes on with what differs."""
        heads = [group[0] for group in groups]
        length = len(heads[0].context)
        out = self._run([one.context for one in heads], heads, length - 1, use_cache=True)
        cache = out.past_key_values
        if not hasattr(cache, "batch_select_indices") or not all(
            hasattr(layer, "batch_select_indices") for layer in getattr(cache, "layers", ())
        ):
            return self.whole(groups)
        ends = out.logits[:, -1]
        longer = [
            (row, place)
            for row, group in enumerate(groups)
            for place, one in enumerate(group)
            if len(one.tokens) > 1
        ]
        more: dict[tuple[int, int], Tensor] = {}
        if longer:
            cache.batch_select_indices(torch.tensor([row for row, _ in longer]))
            rows = [groups[row][place] for row, place in longer]
            reads = [one.tokens[:-1] for one in rows]
            logits = self._run(reads, rows, 0, length, past_key_values=cache).logits
            more = {key: logits[number] for number, key in enumerate(longer)}
        return [
            [
                _answer(
                    torch.cat([ends[row : row + 1], more[row, place][: len(one.tokens) - 1]])
                    if (row, place) in more
                    else ends[row : row + 1],
                    one.tokens,
                )
                for place, one in enumerate(group)
            ]
            for row, group in enumerate(groups)
        ]

    def _run(
        self,
        reads: Sequence[Sequence[int]],
        rows: Sequence[Continuation],
        first: int,
        past: int = 0,
        **options: Any,
    ) -> Any:
        """The output for tokens behind so many of a cache, with the logits of those from the first on."""
        width = max(map(len, reads))
        device = self._engine.device
        ids = torch.tensor([[*read, *[0] * (width - len(read))] for read in reads], device=device)
        if self._masks:  # padding on the right needs no mask; it says where in its row a token stands
            options["attention_mask"] = torch.ones(len(reads), past + width, dtype=torch.long, device=device)
        if self._keeps:
            options["logits_to_keep"] = torch.arange(first, width, device=device)
        steered = self._engine.steered([one.steering for one in rows], [len(one.context) for one in rows])
        with self._engine.lock, torch.inference_mode(), steered:
            return self._engine.model(input_ids=ids, **{"use_cache": False, **options})


def _answer(logits: Tensor, tokens: Sequence[int]) -> Answer:
    """Of logits `[tokens, vocabulary]`, one row for each token."""
    scores = logits.float().log_softmax(-1)
    wanted = torch.tensor(tokens, device=scores.device)
    chosen = scores.gather(-1, wanted[:, None])
    total = float(chosen.sum())
    if math.isnan(total):
        raise ModelError(UNSOUND)
    return total, bool((scores.argmax(-1) == wanted).all())
