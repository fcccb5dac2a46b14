"""The Dockerfile installs as the README says. No image is built: the lines that do it run in an environment."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.package.environments import ROOT, Environment

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def stages() -> dict[str, list[tuple[str, str]]]:
    """The instructions of each stage, those of the stages it is built from first."""
    found: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for line in re.sub(r"\\\n", " ", TEXT).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            found[name] = list(found.get(image, []))
        found[name].append((word, rest))
    return found


def installs(stage: str) -> list[str]:
    """The lines of a stage that concern trimtab."""
    return [rest for word, rest in stages()[stage] if word == "RUN" and not rest.startswith("useradd")]


def test_both_stages_install_as_the_readme_says() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for stage in ("cpu", "cuda"):
        first, second = installs(stage)
        assert first in readme
        assert second == "trimtab doctor"
    assert set(re.findall(r"--target (\w+)", TEXT + readme)) == {"cpu", "cuda"}


def test_nobody_is_root_and_the_entry_is_the_command() -> None:
    for stage in ("cpu", "cuda"):
        found = dict(stages()[stage])
        assert found["USER"] == "trimtab"
        assert found["ENTRYPOINT"] == '["trimtab"]'


@pytest.mark.slow
def test_the_lines_run(environment: Callable[[], Environment], tmp_path: Path) -> None:
    place = tmp_path / "opt"
    place.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, place / name)
    clean = environment()
    for line in installs("cpu"):
        done = clean.run("sh", "-ec", line, cwd=place)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "lacks" not in re.sub(r"extra (judge|datasets|quantization) .*", "", done.stdout)
