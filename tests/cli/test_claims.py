"""Two commands that write one folder at once: the second is refused, and the folder is free again behind the first."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_HOLDS = """
import sys
from pathlib import Path
from trimtab.cli.claims import claim
claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_is_refused_before_the_work(
    run: Callable[..., Any], model_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "both"
    learn = ("learn", "json,json", "--out", f"{out}/../both", "-m", model_folder)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        refused = run(*learn)
        assert refused.exit_code == 2
        assert "another process is writing" in refused.stderr
        assert not out.exists()
        other.communicate("")
    for _ in range(2):  # free again, behind another process and behind a command of this one
        refused = run(*learn)
        assert refused.exit_code == 2
        assert "json is named twice; name each instruction once" in refused.stderr
