"""JSON as its standard has it (RFC 8259), in an answer that may stand in a code fence.

IFEval's own reading is `form.read_json`: it also takes what Python's reader takes, and a fence that is never closed.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

import regex

# Marks, a name of a language and what else is said of it, and as many marks, on their own line or behind the value.
_FENCED = regex.compile(
    r"(?P<marks>`{3,}|~{3,})[ \t]*[\w+.#-]*"
    r"(?:[ \t]+[\w.-]+=(?:\"[^\"\n]*\"|[^\s\"]+)(?=\s))*[ \t]*\n?"
    r"(?P<inside>.*?)(?P=marks)[`~]*",
    regex.DOTALL,
)


def read_strictly(response: str) -> Any:
    """The value that a response is, as JSON, with or without a closed code fence around it; a ValueError if it is none.

    NaN and Infinity are none, nor is what a fence opens and does not close: such an answer was cut off.
    """
    text = response.strip().strip("\ufeff\u200b\u2060").strip()
    if fenced := _FENCED.fullmatch(text):
        text = fenced["inside"].strip()
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
