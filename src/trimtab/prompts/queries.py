"""Base queries and their splits: those that come with the project, and the user's own from files or the Hub.

A **base query** is what a user asks; an instruction's phrasing says how the answer should look.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from trimtab import arguments, nano
from trimtab.errors import PromptError
from trimtab.files import json_lines, read_text
from trimtab.instructions.phrasings import SPLITS as SPLITS
from trimtab.instructions.phrasings import Split as Split
from trimtab.steering.record import ModelIdentity, identity_given

_FIELDS = ("query", "prompt", "question", "instruction", "text")
_OTHER_TABLES = (".json", ".csv", ".tsv", ".parquet")
_FILE_ENDINGS = (".txt", ".jsonl", ".ndjson", *_OTHER_TABLES)


def load_queries(
    source: str | Path, *, field: str | None = None, dataset_split: str = "train", limit: int | None = None
) -> list[str]:
    """Read base queries of the user's own, in their order; empty ones and exact repetitions are left out.

    Args:
        source: A text file with a query per line; a `.jsonl` file with an object (or a text) per line; or, when no such
            file exists, the name of a dataset of the Hub (needs the extra `datasets`).
        field: Which field of an object or dataset holds the query. By default the first there is of `query`, `prompt`,
            `question`, `instruction`, `text`.
        dataset_split: Which split of a dataset to read.
        limit: Read at most so many queries.

    Raises:
        PromptError: There is no such file or dataset, it cannot be read, or there is no query in it.
    """
    if limit is not None:
        arguments.whole(limit, "limit", PromptError, least=1)
    if field is not None:
        arguments.text(field, "field", PromptError)
    arguments.text(dataset_split, "dataset_split", PromptError)
    path = arguments.place(source, "source", PromptError)
    try:
        there, is_folder = path.exists(), path.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise PromptError(f"cannot read {path}: {error.strerror or error}") from error
    if is_folder:
        raise PromptError(f"{path} is a folder; give a .txt or .jsonl file, or the name of a dataset")
    if there and path.suffix.lower() in _OTHER_TABLES:
        raise PromptError(
            f"{path} has no query per line; make a .txt file with a query per line, or a .jsonl file, of it"
        )
    if there:
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            queries: Iterable[str] = [
                value if isinstance(value, str) else _pick(value, field, where)
                for where, value in json_lines(path, error=PromptError)
            ]
        else:
            queries = read_text(path, PromptError).split("\n")
    elif path.suffix.lower() in _FILE_ENDINGS or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", str(source)):
        raise PromptError(f"there is no file {path}; give a .txt or .jsonl file, or the name of a dataset")
    else:
        rows = dataset_rows(str(source), dataset_split, f"there is no file {path} to read instead")
        queries = (_pick(row, field, where) for where, row in rows)
    distinct: dict[str, None] = {}
    for query in filter(str.strip, queries):
        distinct[query.strip()] = None
        if len(distinct) == limit:  # a dataset can be very long
            break
    kept = list(distinct)
    if not kept:
        raise PromptError(f"there is no query in {source}")
    for query in kept:
        refuse_broken_text(query, f"a query of {source}")
    return kept


def query_list(queries: Iterable[str], name: str = "queries") -> list[str]:
    """Base queries as a list; `name` is the argument they are.

    Raises:
        PromptError: They are no list of texts.
    """
    return arguments.each(queries, name, "texts", str, PromptError)


def refuse_broken_text(text: str, what: str) -> None:
    """Refuse half a surrogate pair, as JSON or a terminal can give: no tokenizer takes it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"{what} is not valid Unicode at character {error.start} ({text[error.start]!r}); write it in UTF-8"
        ) from error


def split_queries(queries: Sequence[str]) -> dict[Split, list[str]]:
    """Split queries into learning (about 60 %), validation (20 %) and test (20 %), each in the given order.

    Where a query goes depends on its words alone, not on the other queries: adding some moves none, and two that
    differ only in case, spacing or punctuation stay together.
    """
    parts: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for query in query_list(queries):
        digest = hashlib.sha256(normalised(query).encode()).digest()
        share = int.from_bytes(digest[:8], "big") / 2**64
        parts["learning" if share < 0.6 else "validation" if share < 0.8 else "test"].append(query)
    return parts


def normalised(query: str) -> str:
    """A query's words in lower case with single spaces, for finding repetitions."""
    return " ".join(re.findall(r"\w+", query.lower()))


def _pick(value: Any, field: str | None, where: str) -> str:
    if not isinstance(value, dict):
        raise PromptError(f"{where} is neither a text nor an object, but {type(value).__name__}")
    name = field if field is not None else next((name for name in _FIELDS if name in value), None)
    if name is None or name not in value:
        wanted = f"field '{field}'" if field is not None else f"field of {', '.join(_FIELDS)}"
        there = ", ".join(sorted(map(str, value))) or "none"
        raise PromptError(f"{where} has no {wanted}; its fields are: {there}")
    query = value[name]
    if not isinstance(query, str):
        raise PromptError(f"{where}: the field '{name}' must be text, not {type(query).__name__}")
    return query


def dataset_rows(name: str, split: str, otherwise: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of a dataset of the Hub, each with where it stands; messages end with what else may be done."""
    try:
        import datasets
    except ImportError as error:
        raise PromptError(
            f"to read the dataset {name} from the Hub takes the extra: pip install 'trimtab[datasets]'; {otherwise}"
        ) from error
    try:
        rows = datasets.load_dataset(name, split=split)
    except Exception as error:  # the loader raises whatever its network and file formats raise
        raise PromptError(
            f"cannot load the dataset {name} (split {split}): {error or type(error).__name__}; {otherwise}"
        ) from error
    return ((f"the dataset {name}, row {number}", dict(row)) for number, row in enumerate(rows, start=1))


@cache
def _shipped(split: Split) -> tuple[str, ...]:
    file = resources.files("trimtab") / "data" / "queries" / f"{split}.txt"
    return tuple(line for line in file.read_text(encoding="utf-8").splitlines() if line.strip())


def base_queries(split: Split) -> list[str]:
    """The base queries this project wrote for real models: one split of them, always in the same order.

    None of them says anything about the format, length or wording of the answer, so that an instruction can be added to
    any of them. No query has a near duplicate in another split.

    Args:
        split: `"learning"` (about 60 %), `"validation"` (20 %) or `"test"` (20 %).

    Raises:
        PromptError: There is no such split.
    """
    return list(_shipped(checked_split(split)))


def default_queries(identity: ModelIdentity, split: Split, n: int | None = None, seed: int = 0) -> list[str]:
    """The base queries that suit a model: the built-in model's own world, or `base_queries` for any other.

    Args:
        identity: The model the queries are for.
        split: `"learning"`, `"validation"` or `"test"`.
        n: How many; all (for the built-in model: its own default number) when None.
        seed: Which ones, when fewer than all.

    Raises:
        PromptError: There is no such split, or it has fewer than `n` queries.
    """
    split = checked_split(split)
    if n is not None:
        arguments.whole(n, "n (the number of queries)", PromptError, least=1)
    arguments.seed(seed, PromptError)
    identity = identity_given(identity)
    if nano.is_built_in(identity.id):
        return list(nano.queries(split, n, seed))
    return sample_queries(base_queries(split), n, seed, what=f"the {split} split")


@dataclass(frozen=True)
class Drawn:
    """Queries for a piece of work: to learn from, to choose on, to measure on; no two lists share one.

    Attributes:
        pool: All that those of `learning` were drawn from, where a source was given; None for the model's own.
    """

    learning: list[str]
    validation: list[str]
    test: list[str]
    pool: list[str] | None = None


def draw_queries(
    identity: ModelIdentity,
    source: str | Path | None = None,
    *,
    learning: int = 0,
    validation: int = 0,
    test: int = 0,
    seed: int = 0,
    otherwise: str = "",
) -> Drawn:
    """Draw queries to learn from, to choose on and to measure on: so many of each, or none.

    Args:
        identity: The model they are for; without a source, they are its default queries.
        source: The user's own, as `load_queries` reads them. Where several parts are asked for, they are split by
            `split_queries`, and a part that has fewer than asked for gives all it has. One alone is drawn from all.
        learning: How many to learn from.
        validation: How many to choose on.
        test: How many to measure on.
        seed: Which ones.
        otherwise: What else than giving more the user may do where there are too few, for the message.

    Raises:
        PromptError: The source cannot be read, or there are too few.
    """
    counts: dict[Split, int] = {"learning": learning, "validation": validation, "test": test}
    for split in SPLITS:
        arguments.whole(counts[split], f"{split} (a number of queries)", PromptError, least=0)
    wanted = [split for split in SPLITS if counts[split]]
    if source is None:
        drawn = {split: default_queries(identity, split, counts[split], seed) for split in wanted}
        return Drawn(**{split: drawn.get(split, []) for split in SPLITS})
    found = load_queries(source)
    parts = split_queries(found) if len(wanted) > 1 else dict.fromkeys(wanted, found)
    for split in wanted:
        if not parts[split]:
            raise PromptError(
                f"{source} has too few queries ({len(found)}) to set some aside for the {split} split; give more"
                f"{otherwise}"
            )
    drawn = {
        split: sample_queries(parts[split], min(counts[split], len(parts[split])), seed) for split in wanted
    }
    return Drawn(**{split: drawn.get(split, []) for split in SPLITS}, pool=parts.get("learning"))


def sample_queries(
    queries: Sequence[str], n: int | None, seed: int = 0, what: str = "the query list"
) -> list[str]:
    """Take `n` of the queries, chosen by `seed` and kept in random order; all of them, as they are, when `n` is None.

    Raises:
        PromptError: There are fewer than `n`.
    """
    queries = query_list(queries)
    arguments.seed(seed, PromptError)
    if n is None:
        return queries
    arguments.whole(n, "n (the number of queries)", PromptError, least=0)
    if n > len(queries):
        raise PromptError(
            f"{what} has {len(queries)} queries, fewer than the {n} asked for; ask for fewer or bring your own"
        )
    return random.Random(seed).sample(queries, n)


def checked_split(split: str) -> Split:
    """The split of that name; refused if there is none."""
    for known in SPLITS:
        if isinstance(split, str) and split == known:
            return known
    raise PromptError(f"there is no split {arguments.in_words(split)}; the splits are {', '.join(SPLITS)}")
