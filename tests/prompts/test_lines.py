from __future__ import annotations

from pathlib import Path

from trimtab.prompts.queries import load_queries


def test_a_line_of_a_text_file_ends_at_a_line_feed_and_nowhere_else(tmp_path: Path) -> None:
    odd = [f"before{mark}behind" for mark in "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"]
    (tmp_path / "queries.txt").write_bytes("\r\n".join([*odd, "last"]).encode())
    assert load_queries(tmp_path / "queries.txt") == [*odd, "last"]
