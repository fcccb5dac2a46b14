"""What is read of a model on vLLM, by requests whose one token is dropped: block outputs, likelihoods of answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from trimtab.engines.base import Capture, Positions
from trimtab.engines.capturing import pooled
from trimtab.engines.encoding import Scored
from trimtab.progress import Tell
from trimtab.vllm import constraining, requesting
from trimtab.vllm.running import Requests
from trimtab.vllm.worker.recording import Reading, groups, merged

Rpc = Callable[..., list[Any]]
"""`(method, *arguments)` of vLLM's workers, which all answer."""


def captured(
    rpc: Rpc,
    requests: Requests,
    rows: Sequence[list[int]],
    blocks: tuple[int, ...],
    width: int,
    positions: Positions,
    directions: Tensor | None,
    *,
    keep: bool,
    at_once: int | None,
    tell: Tell,
) -> Capture:
    """Block outputs of rows of tokens, as the workers record them; the other arguments as of `Engine.capture`."""
    parts, done = [], 0
    tell("reading", done, len(rows))
    for group in groups(rows, len(blocks) * width, positions, keep):
        lengths = tuple(len(row) for row in group)
        rpc("trimtab_record_begin", Reading(blocks, lengths, positions, directions, keep).pack())
        asked = [requesting.reading(row, number) for number, row in enumerate(group)]
        for _ in requests.outputs(asked, at_once):
            done += 1
            tell("reading", done, len(rows))
        parts.append(merged(rpc("trimtab_record_result"), blocks))
    return pooled(parts)


def likelihoods(
    requests: Requests,
    rows: Sequence[Scored],
    compositions: Sequence[Any],
    *,
    drafts: bool,
    at_once: int | None,
) -> Iterator[tuple[int, float]]:
    """The number of each row and the mean log-likelihood of its response, as they come.

    `drafts` says whether vLLM writes with them (see `requesting.scoring`).
    """
    asked = [
        requesting.scoring(row.start, row.response, composition, drafts=drafts)
        for row, composition in zip(rows, compositions, strict=True)
    ]
    for place, output in requests.outputs(asked, at_once):
        row = rows[place]
        yield place, row.mean(requesting.log_probabilities(output, len(row.start), row.response))


def taken(
    requests: Requests,
    rows: Mapping[int, list[int]],
    compositions: Mapping[int, Any],
    under: Mapping[int, Sequence[tuple[int, float]]],
    *,
    at_once: int | None,
) -> Iterator[tuple[int, float]]:
    """What constraints took from answers: how likely their tokens are without is read in a second pass.

    All three are by the place of an answer: its prompt, its composition, and what `constraining.under_mask` gave.
    """
    places = list(under)
    answers = [[token for token, _ in under[place]] for place in places]
    asked = [
        requesting.scoring(rows[place], answer, compositions[place])
        for place, answer in zip(places, answers, strict=True)
    ]
    for which, output in requests.outputs(asked, at_once):
        place = places[which]
        free = requesting.log_probabilities(output, len(rows[place]), answers[which])
        yield place, constraining.taken(under[place], free)
