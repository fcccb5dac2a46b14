"""Models in GGUF files, on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.tiny_gguf import tiny_gguf


def test_a_file_is_a_model(run: Callable[..., Any], tmp_path: Path) -> None:
    file = tiny_gguf(tmp_path / "tiny.gguf")
    command = ("generate", "hi", "--max-new-tokens", 4, "--dtype", "float32")
    by_file = run(*command, "--model", file)
    by_folder = run(*command, "--model", tmp_path, "--gguf-file", file.name)
    assert by_file.exit_code == by_folder.exit_code == 0, by_file.output
    assert by_file.stdout == by_folder.stdout
    missing = run(*command, "--model", tmp_path / "no.gguf")
    assert missing.exit_code == 2
    assert "there is no file no.gguf" in missing.stderr
