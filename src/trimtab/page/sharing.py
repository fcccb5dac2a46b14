"""A state of the page as an address, and the same as Python, command line and curl."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

from trimtab.instructions import parse_instructions

_MOST = 4000


@dataclass(frozen=True)
class State:
    """What an address of the page says.

    Attributes:
        question: The question.
        picked: What is chosen, with strengths.
        tab: Which tab is open; empty for the first.
    """

    question: str = ""
    picked: Mapping[str, float] = field(default_factory=dict)
    tab: str = ""

    def address(self) -> str:
        """The part of the address behind the question mark, as `read` reads it."""
        values = {
            "q": self.question,
            "s": ";".join(f"{key}*{_number(strength)}" for key, strength in self.picked.items()),
            "tab": self.tab,
        }
        return urlencode({key: value for key, value in values.items() if value}, quote_via=quote)


def read(values: Mapping[str, str]) -> State:
    """What the parameters of an address say; what makes no sense is left out."""
    picked: dict[str, float] = {}
    for part in values.get("s", "")[:_MOST].split(";"):
        key, star, number = part.rpartition("*")
        if not star:
            key, number = part, "1"
        try:
            strength = float(number)
        except ValueError:
            continue
        if key.strip() and math.isfinite(strength):
            picked[key.strip()] = strength
    return State(values.get("q", "")[:_MOST], picked, values.get("tab", "")[:20])


def _number(strength: float) -> str:
    return f"{strength:.4g}"


@dataclass(frozen=True)
class Snippets:
    """The same three times over, to copy."""

    python: str
    command: str
    curl: str


def snippets(
    model: str,
    question: str,
    strengths: Mapping[str, float],
    url: str = "http://127.0.0.1:8000",
    key: bool = False,
) -> Snippets:
    """How to get the steered answer without the page.

    Args:
        model: What the model is called.
        question: The question.
        strengths: The steerings by name, with strengths.
        url: Where the server of this page is.
        key: Whether it asks for an API key.
    """
    question = question or "..."
    prompt = json.dumps(question, ensure_ascii=False)
    parts = [
        f"{'' if strength == 1 else f'{_number(strength)} * '}trimtab.Steering.load({name!r})"
        for name, strength in strengths.items()
    ]
    python = ["import trimtab", "", f"engine = trimtab.load({model!r})"]
    given = ""
    if parts:
        python.append(f"steering = {' + '.join(parts)}  # downloaded and unpacked here")
        given = ", steering=steering"
    python += [f"[answer] = engine.generate([{prompt}]{given})", "print(answer.text)"]
    command = ["trimtab", "generate", question, "--model", model]
    for name in strengths:
        command += ["--steering", name]
    if any(strength != 1 for strength in strengths.values()):
        command += ["--strength", ",".join(_number(one) for one in strengths.values())]
    expression = "+".join(
        name if strength == 1 else f"{name}*{_number(strength)}" for name, strength in strengths.items()
    )
    body = {
        "model": f"{model}:{expression}" if expression else model,
        "messages": [{"role": "user", "content": question}],
    }
    curl = ["curl", f"{url.rstrip('/')}/v1/chat/completions", "-H", "Content-Type: application/json"]
    shown = shlex.join(curl) + (' \\\n  -H "Authorization: Bearer $KEY"' if key else "")
    content = shlex.quote(json.dumps(body, ensure_ascii=False))
    return Snippets("\n".join(python), shlex.join(command), f"{shown} \\\n  -d {content}")


def taught_snippets(model: str, spelling: str, name: str, file: str = "") -> Snippets:
    """How to teach an instruction without the page; `file` is that of an instruction of one's own."""
    [one] = parse_instructions(spelling)
    known = f"trimtab.instructions.load_file({file!r})\n" if file else ""
    python = (
        f"import trimtab\n\n{known}engine = trimtab.load({model!r})\n"
        f"queries = trimtab.prompts.default_queries(engine.identity, 'learning', 64)\n"
        f"learned = trimtab.learn.distill(engine, queries, {one.label!r})\n"
        f"learned.steering.save({name!r})"
    )
    command = ["trimtab", "learn", one.label, "--model", model, "--out", name]
    if file:
        command += ["--file", file]
    return Snippets(python, shlex.join(command), "")
