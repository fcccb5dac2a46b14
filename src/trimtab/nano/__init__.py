"""The built-in model: a small Llama that knows a small invented world and follows instructions.

`nano-instruct` (or just `nano`) follows instructions in its prompt; `nano-base` is the model it was tuned from.
"""

from __future__ import annotations

import hashlib
import random
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from trimtab.errors import ModelError

if TYPE_CHECKING:
    from trimtab.instructions import Instruction, Split

NAMES = ("nano", "nano-instruct", "nano-base")

__all__ = ["NAMES", "facts", "instructions", "is_built_in", "path", "queries", "revision", "steerings"]


def path(name: str = "nano") -> Path:
    """The folder of a built-in model, in the form that `transformers` loads.

    Raises:
        ModelError: If there is no built-in model of this name.
    """
    if name not in NAMES:
        raise ModelError(f"no built-in model is named {name!r}; there are {', '.join(NAMES)}")
    folder = "nano-instruct" if name == "nano" else name
    return Path(str(resources.files("trimtab.nano").joinpath("weights", folder)))


def is_built_in(model_id: str) -> bool:
    """Whether a model of this id is one of the built-in ones, whose world the queries and the facts are of."""
    return model_id in NAMES


def revision(name: str = "nano") -> str:
    """Which weights a built-in model has: the SHA-256 of its weight file, in hexadecimal digits.

    A steering made on other weights of the same name is so told apart.

    Raises:
        ModelError: If there is no built-in model of this name.
    """
    return hashlib.sha256((path(name) / "model.safetensors").read_bytes()).hexdigest()


def queries(split: Split, n: int | None = None, seed: int = 0) -> list[str]:
    """Open questions about the world, without instructions.

    Args:
        split: "learning", "validation" or "test"; the three share no question.
        n: How many; None for all.
        seed: Which ones.

    Raises:
        PromptError: If the split is unknown or has fewer questions.
    """
    from trimtab.errors import PromptError
    from trimtab.nano.questions import open_questions

    texts = [question.text for question in open_questions(split)]
    random.Random(seed).shuffle(texts)
    if n is not None and not 0 <= n <= len(texts):
        raise PromptError(f"nano has {len(texts)} {split} questions, {n} were asked for")
    return texts[:n]


def steerings() -> dict[str, Path]:
    """The folders of the steerings that ship with nano, by name: each is what `trimtab learn` makes of it.

    They are for `nano-instruct`, which is just `nano`.
    """
    place = Path(str(resources.files("trimtab.nano").joinpath("steerings")))
    return {one.name: one for one in sorted(place.iterdir()) if one.is_dir()}


def facts(query: str, response: str) -> float | None:
    """Share of the response's sentences that are true; None if there is nothing to judge.

    See `trimtab.nano.judge.facts`.
    """
    from trimtab.nano.judge import facts as share_true

    return share_true(query, response)


def instructions() -> list[Instruction]:
    """One example of every instruction that nano was taught, with words that it did not meet in training."""
    from trimtab.nano.curriculum import TAUGHT, draw_instruction
    from trimtab.nano.questions import open_questions

    rng = random.Random(0)
    return [draw_instruction(rng, name, open_questions("test")[0], "test") for name in TAUGHT]
