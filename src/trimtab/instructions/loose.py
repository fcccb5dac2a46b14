"""IFEval's loose reading of a response: it also passes without its first or last line, or without asterisks.

Source: Zhou et al. 2023, "Instruction-Following Evaluation for Large Language Models", section 3
(https://arxiv.org/abs/2311.07911).
"""

from __future__ import annotations

from collections.abc import Iterator


def variants(response: str) -> Iterator[str]:
    """Yield the eight readings of a response: four ways to drop outer lines, each with and without asterisks.

    The full response comes as it is; a reading with lines dropped is stripped of outer white space.
    """
    lines = response.split("\n")
    cuts = [lines[1:], lines[:-1], lines[1:-1]]
    for text in [response, *("\n".join(cut).strip() for cut in cuts)]:
        yield text
        yield text.replace("*", "")
