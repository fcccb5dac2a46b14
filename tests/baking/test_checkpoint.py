"""The folder is there whole or not at all, and nothing of somebody else's is written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.baking.checkpoint import RECORD, check_out, replaced
from trimtab.errors import TrimtabError


def write(out: Path, text: str) -> None:
    with replaced(out) as folder:
        (folder / RECORD).write_text(text)
        (folder / "weights").write_text(text)


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    write(out, "one")
    assert {path.name: path.read_text() for path in out.iterdir()} == {RECORD: "one", "weights": "one"}
    assert [path.name for path in out.parent.iterdir()] == ["b"]
    (tmp_path / "plain").mkdir()
    assert out.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_an_empty_folder_is_taken_and_a_baked_one_replaced_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write(out, "one")
    (out / "left over").touch()
    write(out, "two")
    assert {path.name for path in out.iterdir()} == {RECORD, "weights"}
    assert (out / "weights").read_text() == "two"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_fails_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    out = tmp_path / "out"
    write(out, "one")
    with pytest.raises(error), replaced(out) as folder:  # noqa: PT012
        (folder / "weights").write_text("two")
        raise error
    assert (out / "weights").read_text() == "one"
    assert list(tmp_path.iterdir()) == [out]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    write(tmp_path / "link", "one")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "weights").read_text() == "one"


def test_other_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "dear.txt").touch()
    (tmp_path / "nowhere").symlink_to("missing")
    for name, words in {
        "file": "is a file",
        "file/out": "is a file",
        "full": r"holds something else \(dear.txt\)",
        "nowhere": "a link to nothing",
        "x" * 300: "cannot write",
        "zero\0byte": "cannot write",
    }.items():
        with pytest.raises(TrimtabError, match=words):
            check_out(tmp_path / name)
        with pytest.raises(TrimtabError, match=words), replaced(tmp_path / name):
            pass
    assert {path.name for path in tmp_path.iterdir()} == {"file", "full", "nowhere"}
