"""What the process of `trimtab serve` makes of an error at the start, with a server made here."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimtab.vllm.server import __main__ as server


@pytest.fixture
def serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs a module of ours in place of vLLM's: it raises what its argument says."""
    (tmp_path / "some_server.py").write_text(
        "import sys\n"
        "from trimtab.errors import ModelError\n"
        "assert __name__ == '__main__'\n"
        "if sys.argv[1:]:\n"
        "    raise {'ours': ModelError('--enable-dbo: leave it out'), 'another': ValueError('x')}[sys.argv[1]]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(server, "SERVER", "some_server")


@pytest.mark.usefixtures("serves")
def test_a_refusal_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["server", "ours"])
    assert server.main() == 2
    assert capsys.readouterr() == ("", "error: --enable-dbo: leave it out\n")


@pytest.mark.usefixtures("serves")
def test_what_is_not_ours_is_told_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["server", "another"])
    with pytest.raises(ValueError, match="x"):
        server.main()


@pytest.mark.usefixtures("serves")
def test_a_server_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["server"])
    assert server.main() == 0
