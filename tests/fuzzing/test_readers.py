"""Every reader of files, given damaged ones: few trials of each here, many in `python -m benchmarks.bad_days`."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fuzzing.readers import READERS, Reader
from tests.fuzzing.trials import trials


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_what_is_damaged_is_refused_or_read(reader: Reader, tmp_path: Path) -> None:
    if reader.name.startswith("page"):
        pytest.importorskip("gradio")
    count = 6 if reader.slow else 25
    counts = trials(reader, tmp_path / "files", count)
    assert sum(counts.values()) >= count // 2
    assert counts["refused"] or counts["read"]
