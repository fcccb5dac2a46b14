"""Training batches: examples as token ids, sorted by length into a few fixed shapes.

A new tensor shape makes the CPU's matrix library build new kernels, so that a handful of shapes trains several times
faster than padding each batch to its own longest row.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from trimtab.nano.recipe.corpus import sample_chat, sample_document
from trimtab.nano.recipe.tokenizer import ASSISTANT, END, USER

Stage = Literal["base", "instruct"]

CHUNK_EXAMPLES = 2048
BATCH_TOKENS = 8192
LENGTHS = (48, 64, 80, 96, 128, 176, 288)
LABEL_MULTIPLE = 1024
IGNORED = -100


class Batch(NamedTuple):
    """Token ids `[rows, length]` int64; flat positions `[n]` that carry loss, and their labels `[n]` (both int64).

    `n` is a multiple of `LABEL_MULTIPLE`; the filling has the label `IGNORED`.
    """

    ids: Tensor
    positions: Tensor
    labels: Tensor


def chunk_of_batches(tokenizer: PreTrainedTokenizerFast, stage: Stage, seed: int, chunk: int) -> list[Batch]:
    """The batches of one chunk of examples: a function of its arguments alone, so that training can resume."""
    rng = random.Random(f"{seed}/{stage}/{chunk}")
    examples = sorted(
        (example for example in _examples(tokenizer, stage, rng) if len(example[0]) <= LENGTHS[-1]),
        key=lambda example: len(example[0]),
        reverse=True,
    )
    batches = []
    while examples:
        length = next(size for size in LENGTHS if size >= len(examples[0][0]))
        rows = BATCH_TOKENS // length
        if len(examples) < rows:  # the shortest few would make a shape of their own
            break
        batches.append(_batch(examples[:rows], length))
        examples = examples[rows:]
    rng.shuffle(batches)
    return batches


def _examples(
    tokenizer: PreTrainedTokenizerFast, stage: Stage, rng: random.Random
) -> Iterator[tuple[list[int], int]]:
    """Yields (token ids, index of the first token that carries loss)."""
    if stage == "base":
        texts = [sample_document(rng) + END for _ in range(CHUNK_EXAMPLES)]
        for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
            yield ids, 1
        return
    chats = [sample_chat(rng) for _ in range(CHUNK_EXAMPLES)]
    prompts = tokenizer([f"{USER}{chat.prompt}{END}{ASSISTANT}" for chat in chats], add_special_tokens=False)
    answers = tokenizer([chat.answer + END for chat in chats], add_special_tokens=False)
    for prompt, answer in zip(prompts["input_ids"], answers["input_ids"], strict=True):
        yield prompt + answer, len(prompt)


def _batch(examples: list[tuple[list[int], int]], length: int) -> Batch:
    ids = torch.zeros(len(examples), length, dtype=torch.int64)
    positions: list[int] = []
    labels: list[int] = []
    for row, (tokens, first) in enumerate(examples):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        positions += range(row * length + first - 1, row * length + len(tokens) - 1)
        labels += tokens[first:]
    filling = -len(labels) % LABEL_MULTIPLE
    return Batch(ids, torch.tensor(positions + [0] * filling), torch.tensor(labels + [IGNORED] * filling))
