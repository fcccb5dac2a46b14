"""The notebooks run from top to bottom, and are kept without outputs."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"


class _ThisPython(AsyncKernelManager):
    """A kernel of the Python that runs the tests, whatever kernels are registered on this machine.

    It is spoken to through files: a port that is chosen for it may be taken by another process before it listens there.
    """

    sockets = ""  # the folder of the files, whose path has to be short

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "transport": "ipc", "ip": f"{self.sockets}/kernel"})

    @property
    def kernel_spec(self) -> KernelSpec:
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=command, display_name="Python 3", language="python")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Jupyter's own
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_it_runs(
    path: Path, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if path.stem != "nano":
        request.getfixturevalue("smollm2_file")
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    place = {"metadata": {"path": str(tmp_path)}}
    with TemporaryDirectory(prefix="trimtab-") as sockets:
        monkeypatch.setattr(_ThisPython, "sockets", sockets)
        NotebookClient(notebook, timeout=600, resources=place, kernel_manager_class=_ThisPython).execute()
    texts = [output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any(texts)


def test_there_are_two() -> None:
    assert [path.stem for path in sorted(FOLDER.glob("*.ipynb"))] == ["nano", "smollm2"]
