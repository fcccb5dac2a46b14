"""Learning when to steer: a direction that tells prompts to steer from prompts to leave alone, and a threshold on it.

At every block, with h the block's output for a prompt (at its last token, or as the mean of its tokens),

    c = mean(h of prompts to steer) - mean(h of prompts to leave),    acts if cos(h, c) > threshold

The threshold is the one of best F1 on a validation split that the direction was not learned from; of all blocks, tokens
and methods that were tried, the one of best F1 is taken, and among equals the one that keeps the two sides furthest
apart. Two other methods find c, and are tried as well:

- `pca`: the first principal component of all examples about their centre, as in B. W. Lee et al.: Programming Refusal
  with Conditional Activation Steering (CAST), arXiv 2409.05907, which searches block, threshold and the sign of the
  comparison in this way; here the sign is in the direction.
- `discriminant`: the mean difference, divided by how much the examples of one kind differ among themselves: c solves
  M c = mean difference, where M is half their covariance and half the multiple of the identity of the same trace
  (R. A. Fisher, The Use of Multiple Measurements in Taxonomic Problems, 1936, shrunk).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from trimtab import arguments
from trimtab.engines import as_engine
from trimtab.engines.deciding import holds
from trimtab.engines.given import prompt_list
from trimtab.errors import ModelError, PromptError, SteeringError
from trimtab.learn.directions import oriented
from trimtab.learn.pca import first_component
from trimtab.progress import Progress, Tell, shown
from trimtab.steering.when import Cast, ReadTokens, Resembles, When
from trimtab.steering.when.cast import cast_scores

if TYPE_CHECKING:
    from trimtab.engines.base import Engine, Model, Prompt

Method = Literal["mean_difference", "pca", "discriminant"]
Compare = Literal["cosine", "cast"]
METHODS: tuple[Method, ...] = get_args(Method)
READ_TOKENS: tuple[ReadTokens, ...] = get_args(ReadTokens)

_FEWEST = 4
_HELD_OUT = 1 / 3
_SHRINKAGE = 0.5


@dataclass(frozen=True)
class Verdicts:
    """How a `when` did on prompts of which it is known whether to steer them.

    Attributes:
        f1: Harmonic mean of precision and recall, in [0, 1].
        precision: Share of the prompts it held for that were to be steered; 1 where it held for none.
        recall: Share of the prompts to be steered for which it held.
        steer: How many were to be steered.
        leave: How many were not.
    """

    f1: float
    precision: float
    recall: float
    steer: int
    leave: int

    @classmethod
    def of(cls, held: Sequence[bool], held_wrongly: Sequence[bool]) -> Verdicts:
        """From what it said of the prompts to steer, and of those to leave."""
        right, wrong = sum(held), sum(held_wrongly)
        f1 = 2 * right / (len(held) + right + wrong) if right else 0.0
        precision = right / (right + wrong) if right + wrong else 1.0
        return cls(f1, precision, right / len(held) if held else 0.0, len(held), len(held_wrongly))


class Examples(NamedTuple):
    """Prompts of both kinds: to be steered, and to be left alone."""

    steer: Sequence[Prompt]
    leave: Sequence[Prompt]


def when(
    model: Model,
    steer: Sequence[Prompt],
    leave: Sequence[Prompt],
    *,
    validation: tuple[Sequence[Prompt], Sequence[Prompt]] | None = None,
    blocks: Sequence[int] | None = None,
    tokens: ReadTokens | None = None,
    method: Method | None = None,
    compare: Compare = "cosine",
    seed: int = 0,
    batch_size: int | None = None,
    progress: Progress = False,
) -> When:
    """Learn when to steer from example prompts; `steering.when` gives it to a steering.

    Two or four readings of all examples, then sorting: seconds for hundreds of prompts on a small model. Memory holds
    `N * L * d` float32 numbers for `N` prompts and `L` blocks.

    Args:
        model: An engine, or a model of transformers with its tokenizer: `(model, tokenizer)`.
        steer: Prompts that shall be steered.
        leave: Prompts that shall not; the more like those to steer in all else, the better.
        validation: Prompts of both kinds (`steer`, `leave`) to choose and fit on. None holds a third of each kind back.
        blocks: Blocks to try; all by default.
        tokens: What to read of a prompt; None tries both.
        method: How the direction is found; None tries all.
        compare: What stands against the threshold: the `cosine` (a `Resembles`), or what CAST's own code compares (a
            `Cast`, or one turned round), which its files can say.
        seed: Which examples are held back.
        batch_size: Prompts per forward pass; the engine chooses by default.
        progress: See `trimtab.progress.Progress`.

    Returns:
        The `when`. Its `measurements` have `f1`, `precision` and `recall` on validation, the numbers of examples
        and the method. They are a little too good, since the threshold was chosen there: see `judge_when`.

    Raises:
        PromptError: There are too few examples, or a prompt is of both kinds.
        ModelError: There is no such block, or activations are not finite.
        SteeringError: No block tells the two kinds apart any better than always steering.
    """
    arguments.one_of(compare, "compare (what is compared)", SCORES, SteeringError)
    if tokens is not None:
        arguments.one_of(tokens, "tokens", READ_TOKENS, SteeringError)
    if method is not None:
        arguments.one_of(method, "method", METHODS, SteeringError)
    seed = arguments.seed(seed, SteeringError)
    engine = as_engine(model)
    learning, held_out = _divided(_examples(steer, leave), validation, seed)
    best: _Candidate | None = None
    for reading in READ_TOKENS if tokens is None else (tokens,):
        with shown(progress) as tell:
            sides = [
                _read(engine, side, blocks, reading, batch_size, tell) for side in (*learning, *held_out)
            ]
        numbers = engine.block_numbers(blocks)
        for row, block in enumerate(numbers):
            to_steer, to_leave, *check = (side[:, row].double() for side in sides)
            for way in METHODS if method is None else (method,):
                direction = _direction(to_steer, to_leave, way)
                if direction is None:
                    continue
                scores = [SCORES[compare](side, direction) for side in check]
                # The sign of the direction is settled by the examples; CAST's score does not know it.
                for sign in (1,) if compare == "cosine" else (1, -1):
                    fitted = _fit(sign * scores[0], sign * scores[1])
                    candidate = _Candidate(*fitted, block, reading, way, direction, sign)
                    if best is None or candidate.rank > best.rank:
                        best = candidate
    always = Verdicts.of([True] * len(held_out.steer), [True] * len(held_out.leave))
    if best is None or best.verdicts.f1 <= always.f1:
        raise SteeringError(
            f"no block of {engine.identity.id} tells the two kinds of prompts apart: on validation the best F1 is "
            f"{0.0 if best is None else best.verdicts.f1:.2f}, and always steering has {always.f1:.2f}; give more "
            "examples that differ in what matters, or use a regular expression"
        )
    measurements: dict[str, Any] = {
        **{key: round(getattr(best.verdicts, key), 4) for key in ("f1", "precision", "recall")},
        "always_f1": round(always.f1, 4),
        "validation": [len(held_out.steer), len(held_out.leave)],
        "learning": [len(learning.steer), len(learning.leave)],
        "method": best.method,
    }
    kind = Resembles if compare == "cosine" else Cast
    found = kind(
        engine.identity,
        best.block,
        best.direction.float(),
        best.sign * best.threshold,
        best.tokens,
        measurements,
    )
    return found if best.sign == 1 else ~found


def judge_when(
    model: Model,
    when: When,
    steer: Sequence[Prompt],
    leave: Sequence[Prompt],
    *,
    batch_size: int | None = None,
) -> Verdicts:
    """Measure any `when`, learned or not, on prompts it was not made from: for which it should hold, and should not.

    Raises:
        PromptError: There is no prompt of a kind.
        SteeringError: It cannot be decided on this model.
    """
    engine, steer, leave = as_engine(model), *_examples(steer, leave)
    of = "a When (learn.when, trimtab.when)"
    reason = arguments.instance(when, "when", When, of, SteeringError).refusal(engine.identity)
    if reason is not None:
        raise SteeringError(f"what was learned is not for {engine.identity}: {reason}")
    held = holds(engine.capture, when, [*steer, *leave], batch_size)
    return Verdicts.of(held[: len(steer)], held[len(steer) :])


class _Candidate(NamedTuple):
    verdicts: Verdicts
    threshold: float
    distance: float
    block: int
    tokens: ReadTokens
    method: Method
    direction: Tensor
    sign: int

    @property
    def rank(self) -> tuple[float, float]:
        # Rounded, so that what differs by nothing but rounding leaves the lower block in front.
        return round(self.verdicts.f1, 6), round(self.distance, 3)


def _examples(steer: Sequence[Prompt], leave: Sequence[Prompt], name: str = "") -> Examples:
    return Examples(prompt_list(steer, name or "steer"), prompt_list(leave, name or "leave"))


def _divided(
    examples: Examples, validation: tuple[Sequence[Prompt], Sequence[Prompt]] | None, seed: int
) -> tuple[Examples, Examples]:
    """What to learn from and what to choose on."""
    both = {repr(prompt) for prompt in examples.steer} & {repr(prompt) for prompt in examples.leave}
    if both:
        raise PromptError(f"a prompt is among those to steer and among those to leave: {min(both):.60}")
    if validation is not None:
        of = "prompts to steer and prompts to leave, a list of each"
        sides = arguments.listed(validation, "validation", of, PromptError)
        if len(sides) != 2:
            raise PromptError(f"validation must be two lists, {of}, not {len(sides)}")
        held_out = _examples(sides[0], sides[1], "validation")
        learning = examples
    else:
        parts = []
        for side in examples:
            shuffled = random.Random(seed).sample(list(side), len(side))
            count = max(2, round(_HELD_OUT * len(side)))
            parts.append((shuffled[count:], shuffled[:count]))
        learning, held_out = (Examples(*side) for side in zip(*parts, strict=True))
    for name, count in (("to steer", len(examples.steer)), ("to leave", len(examples.leave))):
        if count < _FEWEST:
            raise PromptError(
                f"there are {count} examples of prompts {name}; give at least {_FEWEST} of each kind, better 30"
            )
    return learning, held_out


def _read(
    engine: Engine,
    prompts: Sequence[Prompt],
    blocks: Sequence[int] | None,
    tokens: ReadTokens,
    batch_size: int | None,
    tell: Tell,
) -> Tensor:
    """`[N, L, d]`, the outputs of the blocks for each prompt."""
    capture = engine.capture(
        prompts, blocks=blocks, positions=tokens, keep=True, batch_size=batch_size, progress=tell
    )
    if capture.activations is None:
        raise ModelError(f"the engine of {engine.identity.id} keeps no activations to learn from")
    return capture.activations


def _direction(steer: Tensor, leave: Tensor, method: Method) -> Tensor | None:
    """The unit direction `[d]` from `[N, d]` examples of both kinds; None where they don't differ."""
    difference = steer.mean(0) - leave.mean(0)
    direction = difference
    if method == "pca":
        centre = (steer.mean(0) + leave.mean(0)) / 2
        direction, _ = first_component(torch.cat([steer, leave]) - centre)
    elif method == "discriminant":
        direction = _discriminant(torch.cat([steer - steer.mean(0), leave - leave.mean(0)]), difference)
    unit = oriented(direction[None], difference[None])[0]
    return unit if bool(unit.any()) else None


def _discriminant(within: Tensor, difference: Tensor) -> Tensor:
    """Solves `((1 - s) X^T X / N + s m I) c = difference` for X `[N, d]`, m the mean variance and s the shrinkage.

    By the identity of Woodbury in N dimensions, since examples are few and the model is wide.
    """
    count, width = within.shape
    ridge = _SHRINKAGE * float(within.square().sum()) / (count * width)
    if ridge == 0:
        return difference
    weight = (1 - _SHRINKAGE) / count
    gram = within @ within.T + (ridge / weight) * torch.eye(count, dtype=within.dtype)
    inner: Tensor = torch.linalg.solve(gram, within @ difference)
    return difference - within.T @ inner


def _cosines(hidden: Tensor, direction: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(hidden, dim=-1).clamp_min(torch.finfo(hidden.dtype).tiny)
    return (hidden @ direction) / norms


SCORES = {"cosine": _cosines, "cast": cast_scores}


def _fit(steer: Tensor, leave: Tensor) -> tuple[Verdicts, float, float]:
    """The threshold of best F1 on cosines of both kinds, its verdicts, and how far apart the kinds are.

    Between neighbouring cosines any threshold decides alike: their middle is taken, and of equal places the widest.
    The distance is that of the means in units of the standard deviations.
    """
    values = sorted({*steer.tolist(), *leave.tolist()})
    best: tuple[tuple[float, float], Verdicts, float] | None = None
    for low, high in pairwise(values):
        threshold = (low + high) / 2
        verdicts = Verdicts.of((steer > threshold).tolist(), (leave > threshold).tolist())
        rank = (verdicts.f1, high - low)
        if best is None or rank > best[0]:
            best = (rank, verdicts, threshold)
    if best is None:  # all cosines are the same
        return Verdicts.of([False] * len(steer), [False] * len(leave)), 1.0, 0.0
    spread = float(steer.std() + leave.std()) if min(len(steer), len(leave)) > 1 else 0.0
    distance = float(steer.mean() - leave.mean()) / max(spread, 1e-9)
    return best[1], best[2], distance
