"""Trials: a file of a reader is damaged, or a request made strange, and what comes of it is judged."""

from __future__ import annotations

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.fuzzing.damage import STRANGE, damaged, damaged_file, strange_json
from tests.fuzzing.guard import FaultError, outcome
from tests.fuzzing.readers import Reader, Whole, whole_of
from tests.fuzzing.schemas import Schema


def trials(reader: Reader, folder: Path, count: int, *, fixed: bool = True) -> Counter[str]:
    """Damages the files of a reader so many times.

    Args:
        reader: Which.
        folder: An empty folder to work in.
        count: How many trials.
        fixed: The same damage every time; else other damage than last time.

    Returns:
        How many were `refused` and `read`.

    Raises:
        FaultError: A reader did what it must not; the message has the smallest damage that hypothesis found.
    """
    whole = whole_of(reader, folder)
    names = [name for name in whole.files if not reader.damage or name in reader.damage]
    counts: Counter[str] = Counter()

    @_tried(count, fixed=fixed, small=not reader.slow)
    @given(data=st.data())
    def run(data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(names))
        content = data.draw(damaged_file(whole.files[name]))
        counts[_trial(reader, folder, whole, name, content)] += 1

    run()
    return counts


def request_trials(schema: Schema, count: int, *, fixed: bool = True) -> Counter[str]:
    """Sends so many strange requests; see `trials`."""
    counts: Counter[str] = Counter()
    schema.prepare()
    for value in schema.base:
        was_taken, refusal = outcome(lambda value=value: schema.take(value))  # type: ignore[misc]
        if not was_taken and "sha256:0123456789ab" not in str(value):
            raise FaultError(f"a sound {schema.name} is refused: {refusal}")

    @_tried(count, fixed=fixed, small=not schema.slow)
    @given(value=st.sampled_from(schema.base).flatmap(_strange) | STRANGE)
    def run(value: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            was_taken, _ = outcome(lambda: schema.take(value))
        counts["read" if was_taken else "refused"] += 1

    run()
    return counts


def _strange(value: Any) -> st.SearchStrategy[Any]:
    if isinstance(value, str):
        return damaged(value.encode()).map(lambda content: content.decode("utf-8", "surrogateescape"))
    return strange_json(value)


def _tried(count: int, *, fixed: bool, small: bool) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=fixed,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink] if small else [Phase.generate],
    )


def _trial(reader: Reader, folder: Path, whole: Whole, name: str, content: bytes) -> str:
    whole.restore(folder)
    (folder / name).write_bytes(content)
    reader.prepare(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        was_read, value = outcome(lambda: reader.read(folder))
    if was_read and reader.same and value != whole.value and content != whole.files[name]:
        raise FaultError(f"a damaged {name} was taken for a whole one: {value!r:.200}")
    return "read" if was_read else "refused"
