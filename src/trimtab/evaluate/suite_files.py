"""Reading a suite: JSON lines in the form of IFEval, or in this project's own.

IFEval's fields are `key`, `prompt` (the instruction is inside), `instruction_id_list` and `kwargs`; a field
`prompt_without_instruction`, as in the data of A. Stolfo et al. (ICLR 2025), gives the bare query. (J. Zhou et al.,
Instruction-Following Evaluation for Large Language Models, 2023.)

The project's own fields are `instructions` (a list of `"json"`, `"sentences(at_most=2)"`, or
`{"name": ..., "params": {...}}`), and `query` (bare), `prompt` (with the instructions in it), or both. Where only
the query is given, test phrasings are added to it. `key` and `questions` (for a judge) may be left out in both forms.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimtab import instructions as catalogue
from trimtab.errors import InstructionError, PromptError
from trimtab.files import json_lines, read_text
from trimtab.instructions.spelling import parse_instructions
from trimtab.prompts.queries import refuse_broken_text

if TYPE_CHECKING:
    from trimtab.instructions import Instruction

FileRow = tuple[str, dict[str, Any]]
"""Where a row stands, for messages, and its fields."""

_BARE = ("query", "prompt_without_instruction")


@dataclass(frozen=True)
class Item:
    """One prompt of a suite.

    Attributes:
        key: What to call it; unique in its suite.
        query: The bare query; None where the instruction cannot be told from the prompt.
        instructed: The prompt with its instructions.
        instructions: What judges the answer; at least one.
        questions: Yes/no questions for a judge; empty lets the judge ask its own.
        file_key: What its file calls it, where several rows of the file share a key; None where `key` is that.
    """

    key: str
    query: str | None
    instructed: str
    instructions: tuple[Instruction, ...]
    questions: tuple[str, ...] = ()
    file_key: str | None = None

    @property
    def asked(self) -> str:
        """The bare query, or the instructed prompt where there is none: what the answer is to be about."""
        return self.instructed if self.query is None else self.query


def file_rows(path: str | Path) -> list[FileRow]:
    """The objects of a JSON lines file, with where they stand.

    Raises:
        PromptError: It cannot be read, or a line is not an object.
    """
    file = Path(path)
    text = read_text(file, PromptError, hint="give a .jsonl file with an object per line")
    rows = []
    for where, row in json_lines(file.name, text, PromptError, hint="a suite has one object per line"):
        if not isinstance(row, dict):
            raise PromptError(f"{where} is {type(row).__name__}, not an object; see the fields of a suite")
        rows.append((where, row))
    if not rows:
        raise PromptError(f"there is nothing in {file}; a suite needs at least one prompt")
    return rows


def read_items(rows: Iterable[FileRow], *, seed: int = 0) -> list[Item]:
    """The items of rows.

    Raises:
        PromptError: A row has not the fields it needs.
        InstructionError: It names an instruction or a parameter that does not exist.
    """
    items: list[Item] = []
    seen: dict[str, int] = {}
    for where, row in rows:
        item = _item(where, row, random.Random(f"{seed}/{len(items)}"))
        # The keyword files of the paper have several rows of one IFEval key, one for each word.
        seen[item.key] = seen.get(item.key, 0) + 1
        if seen[item.key] > 1:
            item = replace(item, key=f"{item.key} ({seen[item.key]})", file_key=item.key)
        items.append(item)
    return items


def with_queries(items: Sequence[Item], path: str | Path) -> list[Item]:
    """Gives items that have none their bare queries from a JSON lines file, by their keys.

    Raises:
        PromptError: The file cannot be read, a line lacks a field, or it has no query for any of the items.
    """
    queries: dict[str, str] = {}
    for where, row in file_rows(path):
        query = _first(where, row, (*_BARE, "model_output"))
        if "key" not in row or query is None:
            raise PromptError(
                f"{where} needs a 'key' and a bare query in 'query', 'prompt_without_instruction' or 'model_output'"
            )
        queries[str(row["key"])] = query
    found = [queries.get(item.file_key or item.key) for item in items]
    if not any(found):
        raise PromptError(
            f"{path} has no query for any key of the suite; its keys must be those of the suite"
        )
    return [
        item if item.query else replace(item, query=query) for item, query in zip(items, found, strict=True)
    ]


def _item(where: str, row: Mapping[str, Any], rng: random.Random) -> Item:
    if "instruction_id_list" in row:
        found = _of_ifeval(where, row)
        prompt = _text(where, row, "prompt")
        if prompt is None:
            raise PromptError(f"{where} has no 'prompt'; its fields are: {', '.join(sorted(row))}")
        query = _first(where, row, _BARE)
    elif "instructions" in row:
        found = _named(where, row["instructions"])
        query = _first(where, row, _BARE)
        prompt = _text(where, row, "prompt")
        if query is None and prompt is None:
            raise PromptError(f"{where} has neither a 'query' nor a 'prompt'")
        if prompt is None:
            prompt = _instructed(str(query), found, rng)
    else:
        raise PromptError(
            f"{where} names no instructions; it needs 'instructions', or IFEval's 'instruction_id_list' and 'kwargs'"
        )
    key = str(row["key"]) if row.get("key") is not None else where
    return Item(key, query, prompt, found, _questions(where, row.get("questions")))


def _of_ifeval(where: str, row: Mapping[str, Any]) -> tuple[Instruction, ...]:
    ids, kwargs = row["instruction_id_list"], row.get("kwargs")
    if kwargs is None:
        raise PromptError(
            f"{where} has no 'kwargs', so nothing can say what its instructions ask for; give IFEval's own rows as "
            "the suite (such a file can still give it bare queries)"
        )
    if not isinstance(ids, Sequence) or isinstance(ids, str) or not ids:
        raise PromptError(f"{where}: 'instruction_id_list' must be a list of at least one id")
    if not isinstance(kwargs, Sequence) or isinstance(kwargs, str) or len(kwargs) != len(ids):
        raise PromptError(f"{where}: 'kwargs' must be a list of as many objects as there are instructions")
    found = []
    for name, params in zip(ids, kwargs, strict=True):
        if not isinstance(params, Mapping | None):
            raise PromptError(f"{where}: 'kwargs' holds {params!r:.40}, not an object")
        # The Hub's table has every parameter of every instruction in each row, the others empty.
        given = {key: value for key, value in (params or {}).items() if value is not None}
        found.append(_get(where, str(name), given))
    return tuple(found)


def _named(where: str, value: Any) -> tuple[Instruction, ...]:
    listed = [value] if isinstance(value, str | Mapping) else value
    if not isinstance(listed, Sequence) or not listed:
        raise PromptError(f"{where}: 'instructions' must be a list of at least one, such as [\"json\"]")
    found: list[Instruction] = []
    for one in listed:
        try:
            found += parse_instructions(one) if isinstance(one, str) else [catalogue.from_dict(one)]
        except InstructionError as error:
            raise InstructionError(f"{where}: {error}") from None
        except AttributeError:
            raise PromptError(f"{where}: an instruction is a text or an object, not {one!r:.40}") from None
    return tuple(found)


def _get(where: str, name: str, params: Mapping[str, Any]) -> Instruction:
    try:
        return catalogue.get(name, **params)
    except InstructionError as error:
        raise InstructionError(f"{where}: {error}") from None


def _instructed(query: str, found: Sequence[Instruction], rng: random.Random) -> str:
    """The query, followed by a test phrasing of each instruction."""
    return " ".join([query, *(rng.choice(one.for_query(query).phrasings("test")) for one in found)])


def _questions(where: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if (
        not isinstance(value, Sequence)
        or isinstance(value, str)
        or not all(isinstance(q, str) for q in value)
    ):
        raise PromptError(f"{where}: 'questions' must be a list of texts")
    return tuple(value)


def _first(where: str, row: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The text of the first of these fields that is there."""
    return next((text for name in names if (text := _text(where, row, name)) is not None), None)


def _text(where: str, row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise PromptError(f"{where}: the field '{name}' must be a text with something in it")
    refuse_broken_text(value, f"{where}, field '{name}'")
    return value
