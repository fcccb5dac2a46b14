"""Learning, by the command that a user gives: `trimtab learn NAME`, with its defaults."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.real.settings import Settings, place

from trimtab.errors import TrimtabError
from trimtab.files import write_text
from trimtab.instructions import Instruction
from trimtab.progress import Tell


def learned(
    settings: Settings, instruction: Instruction, folder: Path, tell: Tell
) -> tuple[Path, dict[str, Any]]:
    """The folder of an instruction's steering, learned if it is not there yet, and what learning told of it.

    Args:
        settings: What is measured.
        instruction: What to learn.
        folder: Where steerings are kept. One of other settings is learned anew; one that was begun is gone on with.
        tell: Is told when learning begins. From then on `trimtab learn` itself says how far it is.

    Returns:
        The folder, and what `trimtab learn --json` gave. Its `seconds` are those of the whole command, the start of
        Python and the loading of the model included; of one that was interrupted, those of its last part.

    Raises:
        TrimtabError: Learning failed; why stands on standard error.
    """
    out = folder / place([instruction])
    kept = folder / f"{out.name}.learned.json"
    asked = {"model": settings.model, "learn": list(settings.learn), "seed": settings.seed}
    if kept.is_file():
        before = json.loads(kept.read_text("utf-8"))
        if before["asked"] == asked:
            return out, before["told"]
        kept.unlink()
        shutil.rmtree(out, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    answer = folder / f"{out.name}.answer.json"
    command = [sys.executable, "-m", "trimtab", "learn", instruction.label, "--model", settings.model]
    command += ["--out", str(out), "--seed", str(settings.seed), "--json", str(answer), *settings.learn]
    tell(f"{instruction.label}: learning", 0)
    start = time.perf_counter()
    status = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
    seconds = time.perf_counter() - start
    if status:
        raise TrimtabError(f"trimtab learn {instruction.label} ended with {status}")
    told = json.loads(answer.read_text("utf-8")) | {"seconds": round(seconds, 1)}
    write_text(kept, json.dumps({"asked": asked, "told": told}, ensure_ascii=False, indent=1))
    answer.unlink()
    return out, told
