"""What a model thinks and what tools it calls, told apart from what it answers: one table of formats."""

from trimtab.thoughts.formats import (
    ThoughtFormat,
    find,
    format_of,
    named,
    names_of_formats,
    register,
)
from trimtab.thoughts.parts import Parts
from trimtab.thoughts.reader import Reader

__all__ = ["Parts", "Reader", "ThoughtFormat", "find", "format_of", "named", "names_of_formats", "register"]
