"""Looking inside: how strength trades off, what each token of an answer was pushed by, and where in the depth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trimtab import prompts
from trimtab.measure.quality import perplexity_of
from trimtab.measure.responses import all_follow, respond
from trimtab.page.workplace import Workplace, known_instructions
from trimtab.steering.blocks import hidden_of
from trimtab.steering.edits import change
from trimtab.steering.hooks import Steered

if TYPE_CHECKING:
    from trimtab.steering.edits import Edit
    from trimtab.steering.steering import Steering

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
QUESTIONS = 12


@dataclass(frozen=True)
class Strength:
    """What a steering does at one strength, on some questions that nothing was learned from.

    Attributes:
        strength: The strength.
        followed: Share of answers that follow; None where nothing can say so.
        repetition: Share of repeated word 4-grams.
        perplexity: Of the answers, under the unsteered model.
    """

    strength: float
    followed: float | None
    repetition: float
    perplexity: float | None


def sweep(
    workplace: Workplace,
    steering: Steering,
    strengths: Sequence[float] = STRENGTHS,
    questions: int = QUESTIONS,
) -> Iterator[Strength]:
    """One strength after the other, on test questions of the model."""
    engine = workplace.engine
    queries = prompts.default_queries(engine.identity, "test", questions)
    wanted = [one for one in known_instructions(steering) if one.can_check]
    for strength in strengths:
        found = respond(
            engine, queries, queries, steering=steering * strength, max_new_tokens=workplace.max_new_tokens
        )
        passed = all_follow([one.text for one in found], queries, wanted) if wanted else []
        yield Strength(
            strength,
            sum(passed) / len(passed) if passed else None,
            sum(one.repetition for one in found) / len(found),
            perplexity_of([one.nll for one in found]),
        )


@dataclass(frozen=True)
class Pushes:
    """How strongly each token of a steered answer was pushed: the length of the change over that of what it changed.

    Attributes:
        answer: The answer.
        pieces: Its tokens as texts.
        by_token: For each, the sum over the blocks.
        by_block: For each block of the model, the mean over the tokens; 0 where no edit stands.
    """

    answer: str
    pieces: tuple[str, ...]
    by_token: tuple[float, ...]
    by_block: tuple[float, ...]


def pushes(workplace: Workplace, question: str, steering: Steering) -> Pushes:
    """Answers a question steered, and reads what the edits did at every token of the answer.

    The read of a block is what its edits read: its output, with the edits of the blocks before it.

    Raises:
        TrimtabError: The question does not fit the model.
    """
    engine = workplace.another()
    [answer] = engine.generate([question], steering=steering, max_new_tokens=workplace.max_new_tokens)
    [prompt] = engine.encoding.prompts([question])
    ids = torch.tensor([[*prompt, *answer.token_ids]], device=engine.device)
    [edits] = engine.edits_of_rows(steering, 1, [question])
    blocks: dict[int, list[Edit]] = {}
    for edit in edits:
        if edit.tokens != "prompt":
            blocks.setdefault(edit.block, []).append(edit)
    read: dict[int, Tensor] = {}

    def reader(block: int) -> Any:
        def note(module: Any, args: Any, output: Any) -> None:
            read[block] = hidden_of(output).detach().float().cpu()

        return note

    place = engine.decoder_blocks
    handles = [place.blocks[block].register_forward_hook(reader(block)) for block in blocks]
    try:
        # The hooks that read come before those that edit.
        with torch.inference_mode(), Steered(place, [edits], [len(prompt)], model=engine.model):
            engine.model(input_ids=ids, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    by_block = torch.zeros(engine.identity.blocks, len(answer.token_ids))
    for block, those in blocks.items():
        hidden = read[block][0, len(prompt) :]
        by_block[block] = _amount(hidden, those)
    return Pushes(
        answer.text,
        tuple(_pieces(engine.tokenizer, answer.token_ids)),
        tuple(by_block.sum(0).tolist()),
        tuple(by_block.mean(1).tolist()) if len(answer.token_ids) else (0.0,) * engine.identity.blocks,
    )


def _amount(hidden: Tensor, edits: Sequence[Edit]) -> Tensor:
    """`[tokens]`: the length of what edits of one block add to `hidden`, `[tokens, d]`, over the length of that."""
    width = hidden.shape[-1]
    u = torch.stack([edit.u for edit in edits])
    p = torch.stack([torch.zeros(width) if edit.p is None else edit.p for edit in edits])
    alpha = torch.tensor([edit.alpha for edit in edits])
    rectified = torch.tensor([edit.rectified for edit in edits])
    added = change(hidden, u, alpha, p, torch.ones(len(edits)), rectified)
    before = torch.linalg.vector_norm(hidden, dim=-1).clamp(min=1e-6)
    relative: Tensor = torch.linalg.vector_norm(added, dim=-1) / before
    return relative


def _pieces(tokenizer: Any, ids: Sequence[int]) -> Iterator[str]:
    """Each token as a text, so that together they are the answer."""
    before = ""
    for count in range(1, len(ids) + 1):
        text = tokenizer.decode(ids[:count], skip_special_tokens=True)
        yield text[len(before) :] if text.startswith(before) else ""
        before = text
