"""Write the list of packages in house.md and its picture from the contract of the layers: `python docs/house.py`.

The contract is in pyproject.toml, under `tool.importlinter`; what a package is for, the first sentence of its
docstring says.
"""

from __future__ import annotations

import ast
import re
import tomllib
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent
PAGE, PICTURE = DOCS / "house.md", DOCS / "house.svg"

WIDTH, FLOOR, GAP, TOP = 940, 40, 6, 60
GROUPS = {  # what the floors have in common, drawn beside them
    "for people": ("cli", "demo", "harness", "page", "reproduce", "trainer", "report"),
    "choose and compare": ("evaluate", "transferring", "tune", "learn"),
    "serve": ("server", "vllm", "serve"),
    "write a model": ("baking",),
    "ask and judge": ("following", "measure"),
    "run a model": ("engines",),
    "what to say and do": ("prompts", "nano", "formats", "steering", "instructions", "thoughts"),
    "ground": ("constraint", "files", "patterns", "plugins", "progress", "arguments", "errors"),
}
FRAME = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="t d"
  font-family="system-ui, sans-serif" font-size="15">
  <title id="t">The packages of trimtab, floor by floor</title>
  <desc id="d">From the roof down: {floors}. Each imports only from the floors below it.</desc>
  <defs>
    <marker id="end" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">
      <path d="M0 0 10 5 0 10z" fill="#c2570c"/>
    </marker>
  </defs>
  <rect width="{width}" height="{height}" rx="10" fill="#fff"/>
  <path d="M30 {top}V{bottom}" stroke="#c2570c" stroke-width="1.6" marker-end="url(#end)"/>
  <text x="30" y="34" text-anchor="middle" fill="#c2570c" font-size="13">imports</text>"""


def floors() -> list[list[str]]:
    """The packages of each floor, the roof first, as the contract has them."""
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    return [re.split(r"\s*[|:]\s*", layer) for layer in contract["layers"]]


def purpose(name: str) -> str:
    """What a package or module is for: the first sentence of its docstring."""
    source = DOCS.parent / "src" / "trimtab" / name
    path = source / "__init__.py" if source.is_dir() else source.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = " ".join(text.partition("\n\n")[0].replace("`", "").split())
    sentence = re.split(r"(?<=[.])\s(?=[A-Z])", first)[0].rstrip(".").removeprefix(f"{name.capitalize()}: ")
    return sentence[0].upper() + sentence[1:]


def table() -> str:
    """The packages from the ground up, and what each is for."""
    rows = ["| package | what it is for |", "|---|---|"]
    for floor in reversed(floors()):
        rows += [f"| `{name}` | {purpose(name)} |" for name in floor]
    return "\n".join(rows)


def picture() -> str:
    """The floors as an SVG, the roof on top."""
    levels = floors()
    height = TOP + len(levels) * (FLOOR + GAP) + 20
    listed = "; ".join(", ".join(floor) for floor in levels)
    parts = [FRAME.format(width=WIDTH, height=height, top=TOP, bottom=height - 24, floors=listed)]
    for number, floor in enumerate(levels):
        y = TOP + number * (FLOOR + GAP)
        width = (590 - (len(floor) - 1) * GAP) // len(floor)
        for place, name in enumerate(floor):
            x = 60 + place * (width + GAP)
            parts.append(
                f'  <rect x="{x}" y="{y}" width="{width}" height="{FLOOR}" rx="7" fill="#eef1f5" stroke="#333"/>'
            )
            parts.append(
                f'  <text x="{x + 14}" y="{y + 25}" fill="#222" font-weight="600">{escape(name)}</text>'
            )
            if len(floor) == 1:
                words = escape(_short(purpose(name)))
                parts.append(f'  <text x="{x + 136}" y="{y + 25}" fill="#444" font-size="13">{words}</text>')
    for group, names in GROUPS.items():
        inside = [number for number, floor in enumerate(levels) if set(floor) & set(names)]
        top = TOP + inside[0] * (FLOOR + GAP)
        bottom = TOP + inside[-1] * (FLOOR + GAP) + FLOOR
        parts.append(
            f'  <path d="M668 {top}h10V{bottom}h-10" stroke="#1d5fa8" fill="none" stroke-width="1.6"/>'
        )
        parts.append(f'  <text x="692" y="{(top + bottom) // 2 + 5}" fill="#1d5fa8">{escape(group)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _short(text: str, most: int = 62) -> str:
    """As much of a sentence as fits into a floor, up to a colon or comma where there is one."""
    if len(text) <= most:
        return text
    cut = max(text.rfind(mark, 0, most) for mark in ":;,")
    return text[:cut] if cut > 0 else text[: text.rfind(" ", 0, most)] + " …"


def render(page: str) -> str:
    """The page with the list between its markers written anew."""
    return re.sub(
        r"(<!-- packages -->).*?(<!-- end -->)",
        lambda match: f"{match[1]}\n\n{table()}\n\n{match[2]}",
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    PICTURE.write_text(picture(), encoding="utf-8")
