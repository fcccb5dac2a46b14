"""What the experiments ask: the paper's prompts from their files, or the built-in model's own questions.

The files are those of microsoft/llm-steer-instruct (MIT licence), which this project does not ship: a folder with
`ifeval_prompts.jsonl` (base queries in `model_output`), `ifeval_single_instr_format.jsonl`,
`ifeval_single_keyword_include.jsonl`, `ifeval_single_keyword_exclude.jsonl`, `inclusion_validation.jsonl` and
`exclusion_validation.jsonl`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trimtab import instructions as catalogue
from trimtab import nano
from trimtab.errors import PromptError
from trimtab.evaluate import suites
from trimtab.evaluate.suites import Item
from trimtab.prompts.pairs import make_pairs
from trimtab.prompts.queries import load_queries
from trimtab.reproduce import paper

if TYPE_CHECKING:
    from trimtab.instructions import Instruction, Split
    from trimtab.prompts.pairs import PromptPair

Keyword = Literal["include", "exclude"]
KEYWORDS: tuple[Keyword, ...] = ("include", "exclude")

_FORMAT = "ifeval_single_instr_format.jsonl"
_WORDS = {"include": "ifeval_single_keyword_include.jsonl", "exclude": "ifeval_single_keyword_exclude.jsonl"}
_WORDS_VALIDATION = {"include": "inclusion_validation.jsonl", "exclude": "exclusion_validation.jsonl"}
_QUERIES = "ifeval_prompts.jsonl"


@dataclass(frozen=True)
class Material:
    """The prompts of the experiments.

    Attributes:
        name: Where they come from, in words.
        format: Test prompts with one format instruction each.
        learning: Base queries that vectors are learned from; no test prompt of any experiment asks one of them.
        validation: Base queries on which blocks and weights are chosen; none of them is among `learning` or tested.
        length: Base queries of the length experiment.
        keywords: Test prompts with one word to include or to exclude.
        keywords_validation: Validation prompts of the same kind.
    """

    name: str
    format: tuple[Item, ...] = ()
    learning: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    length: tuple[str, ...] = ()
    keywords: dict[Keyword, tuple[Item, ...]] = field(default_factory=dict)
    keywords_validation: dict[Keyword, tuple[Item, ...]] = field(default_factory=dict)

    def groups(self) -> dict[str, list[Item]]:
        """The format prompts by what gets one vector: an instruction whatever its numbers, each language of its own."""
        found: dict[str, list[Item]] = {}
        for item in self.format:
            found.setdefault(group_of(item.instructions[0]), []).append(item)
        return found

    def pairs(
        self, instructions: Iterable[Instruction], tested: Sequence[Item], most: int | None
    ) -> list[PromptPair]:
        """Prompt pairs to learn a vector from: base queries, but none of `tested`, the instructions taking turns."""
        chosen = list(dict.fromkeys(instructions))
        taken = {item.query for item in tested}
        queries = [query for query in self.learning if query not in taken][:most]
        pairs: list[PromptPair] = []
        for number, instruction in enumerate(chosen):
            if part := queries[number :: len(chosen)]:
                pairs += make_pairs(part, instruction, "learning")
        if not pairs:
            raise PromptError(f"the material ({self.name}) has no base queries left to learn from")
        return pairs

    def held_out(self, instructions: Iterable[Instruction], count: int) -> list[Item]:
        """Validation prompts: held-out base queries, each with one of the instructions in a validation phrasing."""
        chosen = list(dict.fromkeys(instructions))
        return _asked("validation", self.validation[:count], chosen, "validation")


def group_of(instruction: Instruction) -> str:
    """What an instruction shares its vector with: its name; of languages, the language as well."""
    return instruction.label if instruction.name == "language" else instruction.name


def check_folder(folder: Path) -> None:
    """Refuse a folder that lacks one of the six files."""
    for name in (_QUERIES, _FORMAT, *_WORDS.values(), *_WORDS_VALIDATION.values()):
        if not (folder / name).is_file():
            raise PromptError(
                f"there is no {name} in {folder}; it takes the prompt files of microsoft/llm-steer-instruct "
                "(see docs/reproduce.md)"
            )


def from_folder(folder: Path, *, validation: int, limit: int | None = None, seed: int = 42) -> Material:
    """The paper's prompts; refused if a file is missing or holds something else."""
    check_folder(folder)

    def items(name: str) -> tuple[Item, ...]:
        found = suites.load(folder / name).items
        lacking = [item.key for item in found if item.query is None]
        if lacking:
            raise PromptError(f"{name}: the prompt {lacking[0]} has no 'prompt_without_instruction'")
        return found

    queries = load_queries(folder / _QUERIES, field="model_output")
    length = queries[-min(paper.LENGTH_QUERIES, limit or len(queries), max(1, len(queries) // 4)) :]
    format_items, words = items(_FORMAT), {kind: items(_WORDS[kind]) for kind in KEYWORDS}
    # The file holds the test prompts' own bare queries as well, whatever the limit leaves of those.
    tested = {item.query for part in (format_items, *words.values()) for item in part} | set(length)
    rest = [query for query in queries if query not in tested]
    random.Random(seed).shuffle(rest)
    if len(rest) <= validation:
        raise PromptError(
            f"{folder / _QUERIES} has too few queries ({len(rest)} of {len(queries)} are not tested) "
            f"to learn from and to choose on {validation}"
        )
    return Material(
        f"IFEval prompts in {folder.name}",
        format=_limited(format_items, limit, by_group=True),
        learning=tuple(rest[validation:]),
        validation=tuple(rest[:validation]),
        length=tuple(length),
        keywords={kind: _limited(words[kind], limit) for kind in KEYWORDS},
        keywords_validation={kind: _one_word_each(items(_WORDS_VALIDATION[kind]), seed) for kind in KEYWORDS},
    )


NANO_INSTRUCTIONS = (
    "json",
    "title",
    "bullets",
    "highlights",
    "lowercase",
    "uppercase",
    "no_commas",
    "quotes",
    "end_phrase",
    "capital_words",
)


_NANO_WORDS = {
    "include": ("lantern", "dragon", "coffee", "violin"),
    "exclude": ("wood", "home", "market", "water"),
}


def of_nano(*, validation: int, limit: int | None = None, seed: int = 0) -> Material:
    """The built-in model's own questions, and those of the paper's format instructions that it was taught.

    The limit is of each instruction, and of the other experiments; 12 if there is none.
    """
    count = 12 if limit is None else limit
    params: dict[str, dict[str, Any]] = {
        "bullets": {"num_bullets": 3},
        "highlights": {"num_highlights": 2},
        "end_phrase": {"end_phrase": "That is all I know."},
        "capital_words": {"capital_relation": "at least", "capital_frequency": 3},
    }
    chosen = [catalogue.get(name, **params.get(name, {})) for name in NANO_INSTRUCTIONS]
    test = nano.queries("test", seed=seed)
    held_out = nano.queries("validation", seed=seed)
    return Material(
        "the built-in model's own questions",
        format=suites.from_queries("nano", test[:count], chosen).items,
        learning=tuple(nano.queries("learning", 240, seed)),
        validation=tuple(held_out[:validation]),
        length=tuple(test[:count]),
        keywords={kind: _of_words(kind, test, count, "test") for kind in KEYWORDS},
        keywords_validation={kind: _of_words(kind, held_out, validation, "validation") for kind in KEYWORDS},
    )


def word_of(item: Item) -> str:
    """The word that a keyword prompt is about."""
    (value,) = (value for value in item.instructions[0].params.values() if value)
    return str(value[0] if isinstance(value, list | tuple) else value)


def _asked(name: str, queries: Sequence[str], wanted: Sequence[Instruction], split: Split) -> list[Item]:
    """One prompt for each query, the instructions taking turns, in phrasings of the split."""
    items = []
    for number, query in enumerate(queries):
        instruction = wanted[number % len(wanted)]
        (pair,) = make_pairs([query], instruction, split, seed=number)
        items.append(Item(f"{name} {number}", query, pair.instructed, (instruction.for_query(query),)))
    return items


def _of_words(kind: Keyword, queries: Sequence[str], count: int, split: Split) -> tuple[Item, ...]:
    wanted = [catalogue.get(kind, word=word) for word in _NANO_WORDS[kind]]
    return tuple(_asked(kind, queries[: count * len(wanted)], wanted, split))


def _limited(items: Sequence[Item], limit: int | None, *, by_group: bool = False) -> tuple[Item, ...]:
    """The first `limit` items, or the first `limit` of each group."""
    if limit is None:
        return tuple(items)
    if not by_group:
        return tuple(items[:limit])
    seen: dict[str, int] = {}
    kept = []
    for item in items:
        group = group_of(item.instructions[0])
        seen[group] = seen.get(group, 0) + 1
        if seen[group] <= limit:
            kept.append(item)
    return tuple(kept)


def _one_word_each(items: Sequence[Item], seed: int) -> tuple[Item, ...]:
    """One prompt for each query, in an order drawn by `seed`: the files ask for several words of every query."""
    first = list({item.query: item for item in reversed(items)}.values())
    random.Random(seed).shuffle(first)
    return tuple(first)
