"""How a command's model is loaded: by an engine of trimtab, or by one of another package."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.cli import models
from trimtab.cli.models import EngineChoice
from trimtab.cli.output import Output
from trimtab.engines import names_of_engines

ENGINE = '''
from trimtab.engines.loading import load_transformers

def slow(name, *, patience=0, **options):
    """Says what it was given, and runs the model as usual."""
    import sys
    print("patience", patience, sorted(options), file=sys.stderr)
    return load_transformers(name, **options)
'''


def test_an_engine_of_another_package_is_named_in_the_help_and_runs(
    tmp_path: Path, model_folder: Path
) -> None:
    information = tmp_path / "acme_engines-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-engines\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[trimtab.engines]\nslow = acme_engines:slow\n")
    (tmp_path / "acme_engines.py").write_text(ENGINE)
    places = [str(tmp_path), *(place for place in sys.path if place)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "COLUMNS": "200"}

    def trimtab(*arguments: object) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "trimtab", *map(str, arguments)]
        return subprocess.run(line, env=environment, capture_output=True, text=True, check=False)

    assert "|slow" in trimtab("generate", "--help").stdout
    refused = trimtab("generate", "what is it ?", "--engine", "fast")
    assert refused.returncode == 2
    assert "'slow'" in refused.stderr
    asked = ("generate", "what is it ?", "--model", model_folder, "--max-new-tokens", 3)
    done = trimtab(*asked, "--engine", "slow", "--engine-options", '{"patience": 3}')
    assert done.returncode == 0, done.stderr
    assert done.stderr == "patience 3 ['dtype', 'revision', 'trust_remote_code']\n"
    assert done.stdout == trimtab(*asked).stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("[1]", "--engine-options takes a JSON object"),
        ("{", "--engine-options takes a JSON object"),
        ('{"dtype": "float32"}', "give dtype as --dtype, not in --engine-options"),
        ('{"trust_remote_code": true}', "give trust_remote_code as --trust-remote-code"),
        ('{"hurry": 1}', "there is no option hurry for the transformers engine, which takes dtype, device"),
    ],
)
def test_mistakes_in_the_options_of_an_engine(
    run: Callable[..., Any], model_folder: Path, options: str, words: str
) -> None:
    result = run("generate", "what is it ?", "-m", model_folder, "--engine-options", options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in " ".join(result.stderr.replace("│", " ").split())


def test_options_of_the_default_engine(run: Callable[..., Any], model_folder: Path) -> None:
    asked = ("generate", "what is it ?", "-m", model_folder, "--max-new-tokens", 3)
    result = run(*asked, "--engine-options", '{"decoder_blocks": "model.layers"}')
    assert (result.exit_code, result.stdout) == (0, run(*asked).stdout)
    assert "transformers" in names_of_engines()


def test_engines_are_closed_with_the_command(model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[object] = []
    engine = EngineChoice(device="cpu").open(Output(quiet=True), str(model_folder))
    monkeypatch.setattr(type(engine), "close", lambda self: closed.append(self))
    models.close_engines()
    assert closed == [engine]
