"""Requests with distinct random steerings, and what transformers answers to them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from trimtab.engines.base import Engine
from trimtab.engines.chat import prompt_ids
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

LONG = (
    "Permission is granted to any person who obtains a copy of this letter to read it at sea, to copy it by the light "
    "of the moon, and to send it on to whom it may concern, provided that nothing in it is changed on the way."
)
"""Over two hundred tokens: several blocks of vLLM's cache."""
SCOPES = ("all", "prompt", "generated")
GATES = 8
"""Gated edits in one block that a composition of three of `steerings` stays below."""


def steerings(engine: Engine, count: int = 12, seed: int = 0, strength: float = 0.6) -> dict[str, Steering]:
    """Distinct random steerings by name: additions, gated edits and set projections, some in one block, all scopes.

    Their size goes by the residual stream of the model, so that each shows in the text and none drowns it.

    Args:
        engine: The model they are for.
        count: How many.
        seed: Which ones.
        strength: The size of a change, as a share of the residual stream.
    """
    identity = engine.identity
    size = engine.capture(["how large is the residual stream?"], keep=True).activations.norm(dim=-1)[0]
    numbers = torch.Generator().manual_seed(seed)
    chance = random.Random(seed)

    def direction() -> torch.Tensor:
        vector = torch.randn(identity.width, generator=numbers)
        return vector / vector.norm()

    def edit(kind: str) -> Edit:
        block, scope = chance.randrange(identity.blocks), chance.choice(SCOPES)
        much = strength * float(size[block])
        if kind == "add":
            return Edit.add(block, direction(), much, scope)
        if kind == "project":
            return Edit.set_projection(block, direction(), much, scope)
        gate = direction() / float(size[block])
        return Edit(block, direction() * much, alpha=0.5, p=gate * 8, tokens=scope)

    found = {}
    for number in range(count):
        kinds = ["add", "gate"] if number % 2 else ["gate", "project", "add"]
        kinds += chance.choices(["add", "gate", "project"], k=chance.randrange(2))
        name = f"random-{number}"
        found[name] = Steering(name, tuple(edit(kind) for kind in kinds), Record(identity))
    return found


@dataclass(frozen=True)
class Case:
    """One request.

    Attributes:
        prompt: The user's message.
        parts: Names and strengths; none for an unsteered request.
        inline: Edits that it brings along.
        options: Further `SamplingParams`.
    """

    prompt: str
    parts: tuple[tuple[str, float], ...] = ()
    inline: tuple[Edit, ...] = ()
    options: dict[str, Any] = field(default_factory=dict, compare=False)

    def steering(self, known: dict[str, Steering]) -> Steering | None:
        """The same for an engine: one steering, or None."""
        pieces = [known[name] * strength for name, strength in self.parts]
        if self.inline:
            record = next(iter(known.values())).record
            pieces.append(Steering("inline", self.inline, record))
        if not pieces:
            return None
        whole = pieces[0]
        for piece in pieces[1:]:
            whole = whole + piece
        return whole

    def asks(self) -> dict[str, Any]:
        """What the request says in its `extra_args`, as a client would write it."""
        if not self.parts and not self.inline:
            return {}
        if not self.inline:
            return {"steering": "+".join(f"{name}*{strength}" for name, strength in self.parts)}
        edits = [
            {
                "block": edit.block,
                "u": edit.u.tolist(),
                "alpha": edit.alpha,
                "p": None if edit.p is None else edit.p.tolist(),
                "tokens": edit.tokens,
            }
            for edit in self.inline
        ]
        named = [{"name": name, "strength": strength} for name, strength in self.parts]
        return {"steering": {"steerings": named, "edits": edits}}


def cases(known: dict[str, Steering], count: int = 64, distinct: int = 40, seed: int = 0) -> list[Case]:
    """Requests of which the first half has one prompt, under so many different steerings that many come twice.

    Single steerings, negative and fractional strengths, compositions of two and three, edits of the request's own, and
    requests without any.

    Args:
        known: What can be named.
        count: How many requests.
        distinct: How many different steerings, that of no steering included.
        seed: Which ones.
    """
    chance = random.Random(seed)
    names = list(known)
    uses: list[tuple[tuple[tuple[str, float], ...], tuple[Edit, ...]]] = [((), ())]
    while len(uses) < distinct:
        chosen = chance.sample(names, chance.choice([1, 1, 1, 2, 2, 3]))
        parts = tuple((name, chance.choice([1.0, 1.0, 0.5, -1.0, 0.8])) for name in chosen)
        own: tuple[Edit, ...] = ()
        if len(uses) % 10 == 9:
            parts, own = parts[:1], (known[chance.choice(names)] * 0.7).edits
        if (parts, own) not in uses:
            uses.append((parts, own))
    found = []
    for number in range(count):
        parts, own = uses[number % distinct]
        prompt = LONG if number < count // 2 else f"{LONG[: 37 * (number % 5)]} Item {number}"
        found.append(Case(prompt, parts, own))
    return found


def answers(engine: Engine, asked: list[Case], known: dict[str, Steering], tokens: int) -> list[list[int]]:
    """What transformers writes, token by token, each case with its own steering."""
    generations = engine.generate(
        [case.prompt for case in asked],
        steering=[case.steering(known) for case in asked],
        max_new_tokens=tokens,
    )
    return [list(generation.token_ids) for generation in generations]


def prompts_of(engine: Any, asked: list[Case]) -> list[list[int]]:
    """The token ids of each case's prompt, in the model's chat template."""
    return [prompt_ids(engine.tokenizer, case.prompt) for case in asked]


def save(known: dict[str, Steering], folder: Path) -> Path:
    """Writes steerings as a server loads them: each into a subfolder of its name."""
    for name, steering in known.items():
        steering.save(folder / name)
    return folder
