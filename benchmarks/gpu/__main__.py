"""`python -m benchmarks.gpu --out FOLDER`: everything that wants a GPU, in at most ten minutes.

Each part runs in a process of its own, with a limit of time, and leaves `FOLDER/PART.json` when it is done: one that
fails or takes too long takes nothing from the others. `--small` runs all of it on a CPU, at sizes that say nothing of
speed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from benchmarks.gpu.parts import PARTS, ROOT, SMALL, Sizes
from benchmarks.running import run
from trimtab.errors import TrimtabError
from trimtab.files import write_text

LIMIT = 600
"""Seconds of all parts together."""


def command(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder of results.")] = Path("gpu"),
    parts: Annotated[str, typer.Option(help=f"Which, of {','.join(PARTS)}.")] = ",".join(PARTS),
    small: Annotated[bool, typer.Option("--small", help="On a CPU, at small sizes.")] = False,
    here: Annotated[bool, typer.Option("--here", hidden=True)] = False,
) -> None:
    """Run the parts, one after the other. Exit code 1 where one failed."""
    wanted = parts.split(",")
    if unknown := [name for name in wanted if name not in PARTS]:
        raise TrimtabError(f"there is no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    if not small and not torch.cuda.is_available():
        raise TrimtabError("there is no GPU here that torch can use; --small runs all parts on a CPU")
    sizes = SMALL if small else Sizes()
    if here:
        _write(out, wanted[0], sizes, PARTS[wanted[0]][0](sizes))
        return
    began, failed = time.monotonic(), []
    for name in wanted:
        left = LIMIT - (time.monotonic() - began)
        reason = (
            _apart(name, out, small, min(left, PARTS[name][1])) if left > 5 else "no time was left for it"
        )
        if reason is not None:
            failed.append(name)
            _write(out, name, sizes, {"failed": reason})
        typer.echo(f"{name}: {reason or (out / f'{name}.json').read_text(encoding='utf-8')}")
    raise typer.Exit(1 if failed else 0)


def _apart(name: str, out: Path, small: bool, seconds: float) -> str | None:
    """Runs a part in a process of its own; why it failed, or None."""
    more = ["--small"] if small else []
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--here",
        "--parts",
        name,
        "--out",
        str(out.resolve()),
        *more,
    ]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"it took more than {seconds:.0f} seconds"
    return None if done.returncode == 0 else done.stderr.strip()[-600:]


def _write(out: Path, name: str, sizes: Sizes, found: dict[str, Any]) -> None:
    gpu = torch.cuda.get_device_name() if sizes.device == "cuda" else f"{torch.get_num_threads()} CPU threads"
    whole = {"part": name, "device": gpu, "torch": torch.__version__, "sizes": asdict(sizes), **found}
    write_text(out / f"{name}.json", json.dumps(whole, indent=1) + "\n", make_folder=True)


if __name__ == "__main__":
    sys.exit(run(command, "python -m benchmarks.gpu"))
