"""The wheel and the sdist, built once, and an environment that borrows what is installed here, trimtab aside."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.package.environments import ROOT, Environment


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What `make dist` builds: `wheel` and `sdist`."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {"wheel": next(folder.glob("*.whl")), "sdist": next(folder.glob("*.tar.gz"))}


@pytest.fixture
def environment(tmp_path: Path) -> Callable[[], Environment]:
    """Makes an environment in which everything is installed that is installed here, but not trimtab."""

    def make() -> Environment:
        folder = tmp_path / "environment"
        venv.create(folder, with_pip=True)
        borrowed = tmp_path / "borrowed"
        borrowed.mkdir()
        for one in [
            one for entry in sys.path if entry.endswith("-packages") for one in Path(entry).iterdir()
        ]:
            own = one.name.startswith(("trimtab", "__editable__", "_editable_impl_trimtab", "pip"))
            if not own and one.suffix != ".pth" and not (borrowed / one.name).exists():
                (borrowed / one.name).symlink_to(one)
        packages = next(folder.glob("lib/python*/site-packages"))
        for one in packages.glob("setuptools*"):  # an old one, before Python 3.12
            shutil.rmtree(one)
        (packages / "borrowed.pth").write_text(f"{borrowed}\n", encoding="utf-8")
        return Environment(folder)

    return make
