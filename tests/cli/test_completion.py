from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trimtab import instructions
from trimtab.cli.completion import instruction_names, model_names


def completed(shell: str, words: str) -> list[str]:
    """What the last of the words is completed to in a shell that has read trimtab's script."""
    code = "from trimtab.cli.app import main; main()"
    variables = {
        "_TRIMTAB_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_commands_options_instructions_and_models_are_completed() -> None:
    assert completed("bash", "trimtab le") == ["learn"]
    assert "--method" in completed("bash", "trimtab learn --met")
    assert completed("bash", "trimtab learn lowerc") == ["lowercase"]
    assert completed("bash", "trimtab learn --model smol") == ["smollm2"]


def test_names_are_those_there_are() -> None:
    assert instruction_names("") == list(instructions.names())
    assert model_names("na") == ["nano", "nano-base"]
    assert model_names("x") == []


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
def test_bash_completes_with_the_script_that_is_shown(tmp_path: Path) -> None:
    script = tmp_path / "trimtab"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m trimtab "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    code = (
        'eval "$(trimtab --show-completion bash)"; COMP_WORDS=(trimtab doc); COMP_CWORD=1;'
        ' _trimtab_completion trimtab; echo "${COMPREPLY[@]}"'
    )
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", code], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "doctor\n", done.stderr
