"""An environment of its own, and commands that run in it without a network."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Environment:
    """An environment of its own, and what to run in it."""

    folder: Path

    def run(self, *command: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command as in a shell of this environment, without a network; gives what it printed."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_"))}
        path = f"{self.folder / 'bin'}{os.pathsep}{kept['PATH']}"
        quiet = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        return subprocess.run(
            command,
            cwd=cwd,
            env={**kept, "PATH": path, "VIRTUAL_ENV": str(self.folder), **quiet, **variables},
            capture_output=True,
            text=True,
            check=False,
        )
