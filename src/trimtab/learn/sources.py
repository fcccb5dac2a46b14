"""Which prompts to learn an instruction from, and with which sign to apply what was learned.

Most instructions are learned from prompts that say them. An exclusion is not: "do not say rocket" brings rockets to a
model's mind, and its mean difference often makes it say the word. So, as in Stolfo et al. (ICLR 2025, section 6), one
learns the direction of *saying* the word and applies it with a negative strength.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from trimtab.instructions import Instruction


class Source(NamedTuple):
    """What to learn from.

    Attributes:
        instruction: The instruction whose prompt pairs to learn from.
        sign: +1, or -1 where its direction is to be applied with negative strengths.
    """

    instruction: Instruction
    sign: int


# The instruction, the one that says the opposite, and how its parameters are called there.
_OPPOSITES = {
    "exclude": ("include", {"word": "word", "words": "words"}),
    "forbidden_words": ("keywords", {"forbidden_words": "keywords"}),
}


def learning_source(instruction: Instruction) -> Source:
    """What to learn an instruction from: `include` with sign -1 for an `exclude`, itself for most others.

    Args:
        instruction: What shall be followed.
    """
    if instruction.name not in _OPPOSITES:
        return Source(instruction, 1)
    from trimtab import instructions

    name, renamed = _OPPOSITES[instruction.name]
    params = {renamed[key]: value for key, value in instruction.params.items() if key in renamed}
    return Source(instructions.get(name, **params), -1)
