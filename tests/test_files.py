"""Files are written in one step, and what is wrong with a line is said with its number."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzzing.damage import damaged

from trimtab import files
from trimtab.errors import PromptError, TrimtabError


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert files.write_text(path, "old\n") == path
    files.write_text(path, "nеw\r\n")
    assert path.read_bytes() == "nеw\r\n".encode()
    assert list(tmp_path.iterdir()) == [path]


def test_others_may_read_it_as_the_umask_says(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        path = files.write_bytes(tmp_path / "a", b"")
    finally:
        os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o640


def test_what_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = files.write_text(tmp_path / "a.txt", "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TrimtabError, match=r"cannot write .*a\.txt: No space left on device"):
        files.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_before_the_renaming_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(tmp_path / "a.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named_or_made(tmp_path: Path) -> None:
    path = tmp_path / "b" / "c" / "a.txt"
    with pytest.raises(TrimtabError, match=r"cannot write .*No such file or directory"):
        files.write_text(path, "text")
    assert files.write_text(path, "text", make_folder=True).read_text() == "text"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
            max_leaves=5,
        )
    )
)
def test_json_lines_come_back_with_their_numbers(
    tmp_path_factory: pytest.TempPathFactory, values: list[object]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_text(
        "\n".join(json.dumps(value, ensure_ascii=False) for value in values), "utf-8", newline="\n"
    )
    found = list(files.json_lines(path))
    assert [value for _, value in found] == values
    assert [where for where, _ in found] == [f"{path}, line {row + 1}" for row in range(len(values))]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n\n{"a": \n', r"a\.jsonl, line 3 is not valid JSON"),
        (b"[" * 100_000, r"a\.jsonl, line 1 is not valid JSON"),
        (b'"\xff"', r"a\.jsonl, line 1: not UTF-8 text"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(PromptError, match=message):
        list(files.json_lines(path, error=PromptError))


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(TrimtabError, match=r"there is no file .*nowhere"):
        files.read_text(tmp_path / "nowhere")
    with pytest.raises(TrimtabError, match=r"cannot read .*: Is a directory"):
        files.read_text(tmp_path)


@given(
    value=st.recursive(
        st.none() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    ),
    data=st.data(),
)
def test_what_is_sealed_is_given_back_or_found_damaged(value: Any, data: st.DataObject) -> None:
    kept = files.sealed(value).encode()
    assert json.dumps(files.unsealed(kept)) == json.dumps(value)
    changed = data.draw(damaged(kept))
    try:
        assert json.dumps(files.unsealed(changed)) == json.dumps(value)
    except ValueError:
        assert changed != kept


@pytest.mark.parametrize(
    "content", ["", "[]", "1", "{}", '{"checksum": "", "value": 1}', "[" * 10**5, b"\xff"]
)
def test_what_was_not_sealed_is_told(content: str | bytes) -> None:
    with pytest.raises(ValueError):
        files.unsealed(content)


def test_what_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    from trimtab.files import check_writable

    check_writable(tmp_path / "new.json")
    (tmp_path / "old.json").write_text("kept")
    check_writable(tmp_path / "old.json")
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "kept"
    with pytest.raises(TrimtabError, match="cannot write"):
        check_writable(tmp_path / ("x" * 300))
    with pytest.raises(TrimtabError, match="cannot write"):
        check_writable(tmp_path / "missing" / "x")
