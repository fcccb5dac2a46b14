"""Write licences.md from the packages that are installed: `python docs/licences.py`.

pip-licenses reads what each package says of itself; which packages count, metadata say: the dependencies of trimtab,
theirs, and so on. Packages of CUDA are left out: torch brings its own on machines that have a GPU.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PAGE = Path(__file__).with_name("licences.md")
PROJECT = tomllib.loads((PAGE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ROOTS = {  # who gets them: the extras of trimtab
    "every installation": (),
    "the extras of `all`": ("all",),
    "other extras": ("judge", "datasets", "quantization", "lm-eval"),
    "tests and documentation only": ("dev",),
}
ALLOWED = re.compile(
    r"MIT|BSD|Apache|ISC|PSF|Python Software Foundation|MPL|Mozilla|LGPL|Unlicense|Zlib|CC0|BSL-1.0|HPND|Public Domain"
)
"""What an Apache-2.0 package may depend on: permissive licences, and those whose reach ends at their own files."""
TEXTS = {  # where a package names none, what its licence text begins with
    "MIT License": "MIT",
    "Permission is hereby granted, free of charge": "MIT",
    "Redistribution and use in source and binary forms": "BSD",
    "Apache License": "Apache-2.0",
}


def closure(extras: tuple[str, ...]) -> set[str]:
    """Names of the installed packages that trimtab needs with these extras, by the metadata of each."""
    found: set[str] = set()
    waiting: list[tuple[str, str]] = [("trimtab", extra) for extra in ("", *extras)]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        try:
            requirements = _requirements(name, extra)
        except metadata.PackageNotFoundError:  # for another platform, or not in this environment
            continue
        found.add(name)
        for text in requirements:
            requirement = Requirement(text)
            if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
                continue
            for wanted in ("", *requirement.extras):
                one = (canonicalize_name(requirement.name), wanted)
                if one not in seen:
                    seen.add(one)
                    waiting.append(one)
    return {name for name in found if not re.match(r"trimtab$|nvidia|cuda|triton", name)}


def _requirements(name: str, extra: str) -> list[str]:
    if name == "trimtab":  # what is installed may be of another day
        return PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return metadata.requires(name) or []


def licences() -> dict[str, str]:
    """The licence of every installed package, in one line, as pip-licenses finds it."""
    command = [sys.executable, "-m", "piplicenses", "--format=json", "--with-system", "--with-license-file"]
    rows = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {canonicalize_name(row["Name"]): _name(row["License"], row["LicenseText"]) for row in rows}


def _name(licence: str, text: str) -> str:
    if licence != "UNKNOWN" and len(licence) < 150:
        return licence
    for beginning, name in TEXTS.items():
        if beginning in f"{licence}\n{text}":
            return f"{name} (by its text)"
    return "UNKNOWN"


def render(page: str) -> str:
    """The page with its tables written anew.

    Raises:
        ValueError: A licence is unknown, or not one of those that this project may depend on.
    """
    known = licences()
    lines: list[str] = []
    shown: set[str] = set()
    for title, extras in ROOTS.items():
        rows = [(name, known[name]) for name in sorted(closure(extras) - shown)]
        wrong = [f"{name} ({licence})" for name, licence in rows if not ALLOWED.search(licence)]
        if wrong:
            raise ValueError(f"licences to be looked at: {', '.join(wrong)}")
        shown |= {name for name, _ in rows}
        lines += [f"### {title.capitalize()}", "", "| package | licence |", "|---|---|"]
        lines += [f"| {name} | {licence} |" for name, licence in rows] + [""]
    tables = "\n".join(lines)
    return re.sub(
        r"(<!-- licences -->\n).*(<!-- end -->)",
        lambda match: f"{match[1]}\n{tables}\n{match[2]}",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
