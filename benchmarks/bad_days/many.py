"""Ten thousand prompts in a file: memory stays flat, answers are kept as they come, and a killed run goes on."""

from __future__ import annotations

import resource
import signal
import time
from pathlib import Path

from benchmarks.bad_days.process import run, start


def many(folder: Path, count: int) -> tuple[str, str | None]:
    """Answers so many prompts, killed once in the middle.

    Returns:
        What was measured, and what was wrong, or None.
    """
    folder.mkdir(parents=True)
    prompts = [f"What is town number {number}?" for number in range(count)]
    (folder / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    arguments = (
        "generate",
        "--prompts",
        "prompts.txt",
        "--max-new-tokens",
        "2",
        "--out",
        "answers.jsonl",
        "-q",
    )
    kept = folder / "answers.jsonl"
    begun = start(arguments, folder)
    early = late = 0
    while late < count // 2:
        time.sleep(0.2)
        late = kept.read_bytes().count(b"\n") if kept.exists() else 0
        early = early or (_memory(begun.pid) if late else 0)
        if late == 0 and not Path(f"/proc/{begun.pid}").exists():
            break
    grown = _memory(begun.pid) - early
    begun.signal(signal.SIGKILL)
    begun.ended()
    before = kept.read_bytes()
    done = run(arguments, folder)
    measured = f"{late} answers were kept at the kill, memory grew by {grown / 2**20:.0f} MiB"
    if wrong := done.wrong(0):
        return measured, wrong
    after = kept.read_bytes()
    if after.count(b"\n") != count:
        return measured, f"{after.count(bytes([10]))} answers to {count} prompts"
    whole = before[: before.rfind(b"\n") + 1]
    if not after.startswith(whole[: len(whole) // 2]):
        return measured, "what was kept was not gone on with"
    if grown > 64 * 2**20:
        return measured, "memory is not flat"
    return measured, None


def _memory(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()
    except OSError:
        return 0
    return int(fields[1]) * resource.getpagesize()
