"""`trimtab architectures`: which models of the installed vLLM can be served with steering."""

from __future__ import annotations

import dataclasses

from rich.table import Table

from trimtab.cli.output import Output


def command(output: Output) -> None:
    """Show which architectures of vLLM can be steered when served; needs vLLM, but no model and no GPU."""
    from trimtab.vllm.architectures import architectures

    found = architectures()
    table = Table(box=None, pad_edge=False)
    for title in ("architecture", "steered", "tested", "decoder layers", ""):
        table.add_column(title, overflow="fold")
    for one in found:
        table.add_row(
            one.name,
            "yes" if one.found else "no",
            "yes" if one.tested else "",
            ", ".join(one.layers),
            one.reason,
        )
    output.print(table)
    output.print()
    steered, tested = sum(one.found for one in found), sum(one.tested for one in found)
    output.print(
        f"{steered} of {len(found)} can be steered, {tested} are tested against transformers. Judged by vLLM's source: "
        "where a model makes its decoder layers, and what they return; it is judged again when a model is served. "
        "Models that vLLM runs by its backend for transformers, and the language models in multimodal ones, are found "
        "then."
    )
    output.result({"architectures": [dataclasses.asdict(one) for one in found]})
