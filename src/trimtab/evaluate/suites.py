"""Suites: what is asked, with and without instructions, and which checks judge the answers.

A suite is a named list of items. Where a suite knows the bare query of an item, the item has all four conditions;
where the instruction stands only inside the prompt, as in IFEval, it has the instructed ones alone: no baseline can be
measured on a question that nobody can ask.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from trimtab import instructions as catalogue
from trimtab import nano, prompts
from trimtab.errors import PromptError
from trimtab.evaluate import suite_files
from trimtab.evaluate.suite_files import Item
from trimtab.instructions import Instruction
from trimtab.instructions.spelling import resolve_all
from trimtab.prompts.queries import dataset_rows

Wanted = Instruction | str | Sequence[Instruction | str]
"""Instructions, or spellings such as `"json,sentences(at_most=2)"`."""

BUILT_IN = ("nano", "base", "ifeval")
IFEVAL_DATASET = "google/IFEval"
QUESTIONS = 24
"""How many test questions each instruction gets in `nano` and `base` unless told otherwise."""

__all__ = ["BUILT_IN", "IFEVAL_DATASET", "QUESTIONS", "Item", "Suite", "from_queries", "load", "read"]


@dataclass(frozen=True)
class Suite:
    """What is asked and how the answers are judged.

    Attributes:
        name: What to call it in tables.
        items: The prompts, each with its instructions; at least one, no key twice.
        source: Where they come from, in words.
        about_nano: Whether the queries are about the built-in model's world, so that facts can be judged.
        by_label: Whether instructions of one type with other parameters are rows of their own in tables.

    Raises:
        PromptError: There are no items, or two have one key.
    """

    name: str
    items: tuple[Item, ...] = field(repr=False)
    source: str
    about_nano: bool = False
    by_label: bool = False

    def __post_init__(self) -> None:
        if not self.items:
            raise PromptError(f"the suite {self.name} has no items; give it at least one prompt")
        seen: set[str] = set()
        for item in self.items:
            if item.key in seen:
                raise PromptError(
                    f"the suite {self.name} has two items with the key {item.key!r}; give each its own"
                )
            seen.add(item.key)

    @property
    def bare(self) -> int:
        """How many items have a bare query, and so all four conditions."""
        return sum(item.query is not None for item in self.items)

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """The instructions that occur, each once, in the order of the items."""
        return tuple(dict.fromkeys(one for item in self.items for one in item.instructions))

    def with_instructions(self, instructions: Iterable[Instruction]) -> Suite:
        """The same suite with these instructions in the place of equal ones: those that have a judge, say."""
        made = {one: one for one in instructions}
        items = [
            replace(item, instructions=tuple(made.get(one, one) for one in item.instructions))
            for item in self.items
        ]
        return replace(self, items=tuple(items))

    def limited(self, n: int | None, seed: int = 0) -> Suite:
        """At most `n` of the items, drawn by `seed` and kept in their order.

        Args:
            n: How many; None for all.
            seed: Which ones.

        Raises:
            PromptError: `n` is below 1.
        """
        if n is not None and n < 1:
            raise PromptError(f"a suite needs at least 1 item, not {n}")
        if n is None or n >= len(self.items):
            return self
        chosen = sorted(random.Random(seed).sample(range(len(self.items)), n))
        return replace(self, items=tuple(self.items[i] for i in chosen))


def load(
    source: str | Path,
    *,
    instructions: Wanted | None = None,
    bare: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Suite:
    """A suite by name, or from a file.

    Args:
        source: `nano` (the built-in model's test questions), `base` (the project's own test questions, for any other
            model), `ifeval` (the dataset google/IFEval of the Hub; needs the extra `datasets`), or a JSONL file, in the
            form of IFEval or in this project's own (see `suite_files`).
        instructions: For `nano` and `base`, what to add to the questions, or spellings of it; None takes one of every
            kind that `nano` was taught. In the other suites only these are kept: items with no other instruction.
        bare: A JSONL file of bare queries by `key`, for suites which have the instruction only inside the prompt.
        limit: For `nano` and `base` questions per instruction, else items; None for 24, or for all of a file.
        seed: Which questions, which phrasings, and which items where there is a limit.

    Raises:
        PromptError: There is no such suite or file, or it holds something else.
        InstructionError: It names an instruction or a parameter that does not exist.
    """
    name = str(source)
    wanted = None if instructions is None else resolve_all(instructions)
    if name in ("nano", "base"):
        if bare is not None:
            raise PromptError(f"the suite {name} has bare queries already; leave the file {bare} out")
        n = QUESTIONS if limit is None else limit
        known = list(nano.queries("test")) if name == "nano" else prompts.base_queries("test")
        chosen = _taught() if wanted is None else wanted
        suite = from_queries(name, _sample(name, known, n, seed), chosen, seed=seed)
        what = "built-in model's" if name == "nano" else "project's own"
        return replace(suite, source=f"{n} of the {what} test questions", about_nano=name == "nano")
    if name == "ifeval":
        otherwise = "a .jsonl file of the same fields does as well"
        rows = list(dataset_rows(IFEVAL_DATASET, "train", otherwise))
    else:
        rows = _file_rows(name)
    items = suite_files.read_items(rows, seed=seed)
    if bare is not None:
        items = suite_files.with_queries(items, bare)
    if wanted is not None:
        items = [item for item in items if set(item.instructions) <= set(wanted)]
        if not items:
            listed = ", ".join(one.label for one in wanted)
            raise PromptError(f"no item of {name} has only instructions of these: {listed}")
    shown = name if name == "ifeval" else Path(name).stem
    where = f"the dataset {IFEVAL_DATASET}" if name == "ifeval" else f"the file {Path(name).name}"
    return Suite(shown, tuple(items), where).limited(limit, seed)


def read(rows: Sequence[Mapping[str, object]], *, name: str = "rows", seed: int = 0) -> Suite:
    """A suite from rows in memory, of the same fields as a file's.

    Args:
        rows: One mapping for each item.
        name: What to call it.
        seed: Which phrasings.

    Raises:
        PromptError: A row has not the fields it needs.
        InstructionError: It names an instruction or a parameter that does not exist.
    """
    numbered = [(f"{name}, row {number}", dict(row)) for number, row in enumerate(rows, start=1)]
    return Suite(name, tuple(suite_files.read_items(numbered, seed=seed)), "rows in memory")


def from_queries(name: str, queries: Sequence[str], instructions: Wanted, *, seed: int = 0) -> Suite:
    """Every query with every instruction, in test phrasings.

    The queries are the same for all instructions, so that one baseline answer serves them all.

    Args:
        name: What to call the suite.
        queries: Bare queries that neither learning nor tuning has seen.
        instructions: What to add to them, one at a time, or spellings of it.
        seed: Which phrasing meets which query.

    Raises:
        PromptError: There are no queries or no instructions, or an instruction has no test phrasing.
    """
    items = [
        Item(
            key=f"{instruction.label} #{number}",
            query=pair.plain,
            instructed=pair.instructed,
            instructions=(instruction,),
        )
        for instruction in dict.fromkeys(resolve_all(instructions))
        for number, pair in enumerate(prompts.make_pairs(queries, instruction, "test", seed=seed))
    ]
    return Suite(name, tuple(items), f"{len(queries)} queries", by_label=True)


def _taught() -> list[Instruction]:
    """One of every kind that nano was taught; the one about the query is about whichever query is asked."""
    return [catalogue.get(one.name) if one.name == "repeat_prompt" else one for one in nano.instructions()]


def _sample(name: str, queries: list[str], n: int, seed: int) -> list[str]:
    return prompts.sample_queries(queries, n, seed, what=f"the suite {name}")


def _file_rows(name: str) -> list[suite_files.FileRow]:
    if not Path(name).exists() and not Path(name).suffix:
        raise PromptError(
            f"there is no suite or file {name!r}; give {', '.join(BUILT_IN)}, or a .jsonl file of prompts"
        )
    return suite_files.file_rows(name)
