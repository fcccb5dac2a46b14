"""`trimtab doctor`: what this installation has, what it lacks, and how to get it."""

from __future__ import annotations

import os
import platform
import re
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from trimtab._version import __version__
from trimtab.cli.output import Output
from trimtab.errors import TrimtabError
from trimtab.instructions.splitting import splitter_name

CORE = ("torch", "transformers", "safetensors", "tokenizers", "huggingface_hub", "numpy", "typer", "rich")
EXTRAS = {
    "checks": "language detection, sentence splitting, JSON schemas",
    "report": "the HTML reports",
    "evaluate": "intervals and tests of trimtab evaluate",
    "judge": "a judge of answers at an endpoint",
    "datasets": "queries from a dataset of the Hub",
    "gguf": "models in GGUF files",
    "hdf5": "files of llm-steer-instruct",
    "quantization": "models in 8 or 4 bits, and over several devices",
    "constraints": "answers held to a grammar",
}


def command(output: Output) -> None:
    """Show versions, devices, memory and extras; say what is missing and how to get it."""
    found = examine()
    output.print(_table(found))
    for problem in found["problems"]:
        output.note(f"problem: {problem}")
    output.result(found)
    if found["problems"]:
        raise typer.Exit(1)


def examine() -> dict[str, Any]:
    """Look at this machine and installation.

    Returns:
        `trimtab`, `python`, `executable`, `platform`; `packages` (name to version or None); `devices`; `memory_gib`;
        `threads`; `extras` (name to `missing` and `install`); `splitter` (what counts sentences here); `nano` (name to
        MiB of weights or None); `problems`, one line each.
    """
    packages = {name: _version(name) for name in CORE}
    extras = {name: _extra(name) for name in EXTRAS}
    nano = _nano()
    problems = [
        f"{name} is missing; pip install {name}" for name, version in packages.items() if version is None
    ]
    if not any(nano.values()):
        problems.append(
            "the weights of nano are missing; install trimtab again: pip install --force-reinstall trimtab"
        )
    found: dict[str, Any] = {
        "trimtab": __version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "platform": platform.platform(),
        "packages": packages,
        "devices": [],
        "memory_gib": _memory(),
        "threads": {"cores": _cores(), "torch": None},
        "extras": extras,
        "splitter": splitter_name(),
        "nano": nano,
        "problems": problems,
    }
    if packages["torch"] is not None:
        found["devices"], found["threads"]["torch"] = _torch()
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _extra(extra: str) -> dict[str, Any]:
    """Which packages of an extra are missing, by what the installed metadata says it needs."""
    wanted = []
    for requirement in metadata.requires("trimtab") or ():
        name, _, marker = requirement.partition(";")
        if re.search(rf"extra\s*==\s*['\"]{extra}['\"]", marker):
            wanted.append(re.split(r"[^\w.-]", name.strip(), maxsplit=1)[0])
    missing = [name for name in wanted if _version(name) is None]
    return {"missing": missing, "install": f"pip install 'trimtab[{extra}]'" if missing else None}


def _nano() -> dict[str, float | None]:
    """MiB of weights of each built-in model, or None where there are none."""
    names = ("nano-instruct", "nano-base")
    if find_spec("trimtab.nano") is None:
        return dict.fromkeys(names)
    from trimtab import nano

    sizes: dict[str, float | None] = {}
    for name in names:
        try:
            files = list(Path(nano.path(name)).glob("*.safetensors"))
        except TrimtabError:  # a source tree before its training
            files = []
        sizes[name] = round(sum(file.stat().st_size for file in files) / 2**20, 1) if files else None
    return sizes


def _cores() -> int:
    """Cores this process may use, which a container often has fewer of than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> dict[str, float | None]:
    """GiB of main memory, all and available; None where the system does not say."""
    known = {}
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            name, _, rest = line.partition(":")
            known[name] = round(int(rest.split()[0]) / 2**20, 1)
    except (OSError, ValueError, IndexError):
        pass
    total = known.get("MemTotal")
    if total is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    return {"total": total, "available": known.get("MemAvailable")}


def _torch() -> tuple[list[dict[str, Any]], int]:
    """The devices torch can compute on, the fastest first, and its number of threads."""
    import torch

    devices: list[dict[str, Any]] = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            gib = torch.cuda.get_device_properties(number).total_memory / 2**30
            devices.append(
                {
                    "device": f"cuda:{number}",
                    "name": torch.cuda.get_device_name(number),
                    "memory_gib": round(gib, 1),
                }
            )
    if torch.backends.mps.is_available():
        devices.append({"device": "mps", "name": "Apple GPU", "memory_gib": None})
    devices.append({"device": "cpu", "name": platform.processor() or platform.machine(), "memory_gib": None})
    return devices, torch.get_num_threads()


def _table(found: dict[str, Any]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("trimtab", found["trimtab"])
    table.add_row("python", f"{found['python']} ({found['executable']})")
    table.add_row("system", found["platform"])
    for name, version in found["packages"].items():
        table.add_row(name, version or "[red]missing[/]")
    memory = found["memory_gib"]
    if memory["total"] is not None:
        free = "" if memory["available"] is None else f", {memory['available']} available"
        table.add_row("memory", f"{memory['total']} GiB{free}")
    threads = found["threads"]
    table.add_row("threads", f"{threads['torch'] or '?'} used by torch, {threads['cores']} cores usable")
    for device in found["devices"]:
        gib = "" if device["memory_gib"] is None else f", {device['memory_gib']} GiB"
        table.add_row(device["device"], device["name"] + gib)
    for name, size in found["nano"].items():
        table.add_row(name, "[red]missing[/]" if size is None else f"there, {size} MiB")
    for name, extra in found["extras"].items():
        state = "there"
        if extra["missing"]:
            state = f"lacks {', '.join(extra['missing'])}: {extra['install']}".replace("[", r"\[")
        table.add_row(f"extra {name}", f"{state} ({EXTRAS[name]})")
    table.add_row("sentences", f"counted by {found['splitter']}")
    return table
