"""Instructions: verifiable constraints on an answer, with their phrasings and their checks.

``get("sentences", at_most=2)`` gives an instruction by name, ``catalogue()`` lists the types there are. Add your own
with the decorator `instruction`, in a plug-in package, or without code with `load_file`.
"""

from trimtab.errors import InstructionError
from trimtab.instructions.base import Instruction
from trimtab.instructions.demands import Demands
from trimtab.instructions.files import load_file
from trimtab.instructions.judgement import Check, Judge, Judgement, Question
from trimtab.instructions.kinds import InstructionType
from trimtab.instructions.parameters import Parameter
from trimtab.instructions.phrasings import SPLITS, Phrasings, Split
from trimtab.instructions.registry import catalogue, from_dict, get, get_type, instruction, names
from trimtab.instructions.spelling import parse_instructions, resolve, resolve_all
from trimtab.instructions.together import constraint_of

# isort: split
from trimtab.instructions import (
    case,
    combination,
    content,
    form,
    keywords,
    language,
    length,
    punctuation,
    startend,
    tone,
    words,
)

# Importing a family registers its instructions.
FAMILIES = (case, combination, content, form, keywords, language, length, punctuation, startend, words, tone)

__all__ = [
    "FAMILIES",
    "SPLITS",
    "Check",
    "Demands",
    "Instruction",
    "InstructionError",
    "InstructionType",
    "Judge",
    "Judgement",
    "Parameter",
    "Phrasings",
    "Question",
    "Split",
    "catalogue",
    "constraint_of",
    "from_dict",
    "get",
    "get_type",
    "instruction",
    "load_file",
    "names",
    "parse_instructions",
    "resolve",
    "resolve_all",
]
