"""Learning and composing, by the commands that a user gives: `trimtab learn NAME`, `trimtab compose DIR DIR`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimtab.errors import TrimtabError
from trimtab.files import write_text
from trimtab.instructions import Instruction
from trimtab.progress import Tell

_REFUSED, _INTERRUPTED = 2, 130
_MISSPELLED = "--help"  # how a line on the options themselves ends
"""How a command of trimtab ends that could not do what was asked, or was interrupted."""


def learned(
    model: str,
    instruction: Instruction,
    folder: Path,
    tell: Tell,
    *,
    options: Sequence[str] = (),
    seed: int = 0,
) -> tuple[Path | None, dict[str, Any]]:
    """The folder of an instruction's steering, learned if it is not there yet, and what learning told of it.

    Args:
        model: Its name, folder or GGUF file.
        instruction: What to learn.
        folder: Where steerings are kept. One of other settings is learned anew; one that was begun is gone on with.
        tell: Is told when learning begins. From then on `trimtab learn` itself says how far it is.
        options: Of `trimtab learn`, beside its defaults.
        seed: Its seed.

    Returns:
        The folder, and what `trimtab learn --json` gave. Its `seconds` are those of the whole command, the start of
        Python and the loading of the model included; of one that was interrupted, those of its last part. Where the
        command refused to learn: None, and `refused`, its reason.

    Raises:
        TrimtabError: Learning ended in another way.
    """
    out = folder / place([instruction])
    asked = {"model": model, "learn": list(options), "seed": seed}
    command = ["learn", instruction.label, "--model", model, "--seed", str(seed), *options]
    return _made(command, out, asked, f"{instruction.label}: learning", tell)


def composed(
    model: str,
    pair: Sequence[Instruction],
    folder: Path,
    tell: Tell,
    *,
    learn: Sequence[str] = (),
    options: Sequence[str] = (),
    seed: int = 0,
) -> tuple[Path | None, dict[str, Any]]:
    """The folder of the composition of two steerings that were learned, made if it is not there yet; as `learned`.

    Args:
        model: Its name, folder or GGUF file.
        pair: What they were learned for.
        folder: Where they are, and where their composition goes.
        tell: Is told when composing begins.
        learn: The options that they were learned with.
        options: Of `trimtab compose`, beside its defaults.
        seed: Its seed.
    """
    out = folder / place(pair)
    asked = {"model": model, "learn": list(learn), "compose": list(options), "seed": seed}
    parts = [str(folder / place([one])) for one in pair]
    command = ["compose", *parts, "--model", model, "--seed", str(seed), *options]
    return _made(command, out, asked, f"{' and '.join(one.label for one in pair)}: composing", tell)


def _made(
    arguments: Sequence[str], out: Path, asked: dict[str, Any], stage: str, tell: Tell
) -> tuple[Path | None, dict[str, Any]]:
    """What a command of trimtab puts into a folder, made if it is not there yet for what is asked."""
    kept = out.with_name(f"{out.name}.learned.json")
    if kept.is_file():
        before = json.loads(kept.read_text("utf-8"))
        if before["asked"] == asked:
            return None if "refused" in before["told"] else out, before["told"]
        kept.unlink()
        shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    answer = out.with_name(f"{out.name}.answer.json")
    command = [sys.executable, "-m", "trimtab", *arguments, "--out", str(out), "--json", str(answer)]
    tell(stage, 0)
    start = time.perf_counter()
    status, last = _run(command)
    seconds = round(time.perf_counter() - start, 1)
    if status == _INTERRUPTED:
        raise KeyboardInterrupt
    if status == _REFUSED and last.startswith("error: ") and not last.endswith(_MISSPELLED):
        told: dict[str, Any] = {"refused": last.removeprefix("error: "), "seconds": seconds}
    elif status:
        raise TrimtabError(f"trimtab {' '.join(arguments[:2])} ended with {status}")
    else:
        told = json.loads(answer.read_text("utf-8")) | {"seconds": seconds}
        answer.unlink()
    write_text(kept, json.dumps({"asked": asked, "told": told}, ensure_ascii=False, indent=1))
    return None if "refused" in told else out, told


def place(instructions: Sequence[Instruction]) -> str:
    """The name of the file of an instruction, or of several."""
    values = ["-".join([one.name, *(str(value) for value in one.params.values())]) for one in instructions]
    name = "".join(letter if letter.isalnum() or letter in "-+_" else "_" for letter in "+".join(values))
    return name[:120]


def _run(command: Sequence[str]) -> tuple[int, str]:
    """Runs a command whose standard error is passed on; gives how it ended, and the last line that it wrote there."""
    last = ""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            sys.stderr.write(line)
            sys.stderr.flush()
            last = line.strip() or last
    return process.returncode, last
