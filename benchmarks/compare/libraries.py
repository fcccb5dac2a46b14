"""`python -m benchmarks.compare.libraries`: what other libraries' own code writes, beside the same vectors as edits.

The comparison tries their vectors as edits and measures them under the libraries' code. Where the texts of the two
differ, this says why: everything is done in float32 and in the model's own dtype, with the vector as it was learned,
and rounded to the model's dtype beforehand, as the libraries round it and as the comparison does. It says too how near
each vector is to the mean difference of the same pairs.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import Tensor

from benchmarks.compare.adapters import repeng, steering_vectors
from benchmarks.compare.native import Native, NativeEngine
from benchmarks.compare.table import markdown_table, put_into
from benchmarks.compare.task import Settings, Task
from benchmarks.running import run
from trimtab.cli.models import Loading
from trimtab.cli.output import Output
from trimtab.engines.chat import format_prompt
from trimtab.files import read_text, write_text
from trimtab.instructions.spelling import parse_instructions
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering

_PLACE = "libraries"
_SHARE = 0.25  # of the norm of the residual stream: what repeng's unit vectors are multiplied by


@dataclass(frozen=True)
class Vectors:
    """What a library learned, and how its own code applies it.

    Attributes:
        name: The library and its way to learn.
        by_block: The vector of each block that is steered, times its strength; shape `[d]`, float32.
        native: A context in which the library steers by itself.
    """

    name: str
    by_block: dict[int, Tensor]
    native: Native

    def steering(self, task: Task, dtype: torch.dtype = torch.float32) -> Steering:
        """The same as edits, their vectors rounded to a dtype."""
        edits = tuple(Edit.add(block, one.to(dtype).float()) for block, one in self.by_block.items())
        return Steering(self.name, edits, Record(model=task.engine.identity))


def learned(task: Task) -> list[Vectors]:
    """By repeng in its two ways, and by steering-vectors, in the middle blocks."""
    library, model, tokenizer = repeng.library(), task.engine.model, task.engine.tokenizer
    import steering_vectors as other  # type: ignore[import-untyped]

    texts = [
        (format_prompt(tokenizer, pair.instructed), format_prompt(tokenizer, pair.plain))
        for pair in task.pairs
    ]
    blocks = repeng.block_sets(task.engine.identity.blocks)["middle"]
    strength = task.sign * _SHARE * repeng.norm(task)
    found = []
    for method in ("pca_diff", "pca_center"):
        with redirect_stderr(io.StringIO()):  # its progress bars
            vector = library.ControlVector.train(
                model, tokenizer, [library.DatasetEntry(*pair) for pair in texts], method=method
            )
        by_block = {block: torch.from_numpy(vector.directions[block]) * strength for block in blocks}
        native = repeng.control(library, model, vector, blocks, strength)
        found.append(Vectors(f"repeng, {method}", by_block, native))
    vector = other.train_steering_vector(model, tokenizer, texts, layers=blocks, batch_size=16)
    by_block = {block: one.float() * task.sign for block, one in vector.layer_activations.items()}
    native = steering_vectors.applied(vector, model, task.sign)
    return [*found, Vectors("steering-vectors", by_block, native)]


def lines(task: Task) -> list[list[str]]:
    """A line for each of them: dtype, shares of texts that are the same, and the cosine with the mean difference."""
    engine, queries, dtype = task.engine, task.queries("validation"), task.engine.model.dtype
    write = partial(engine.generate, max_new_tokens=task.settings.max_new_tokens)
    directions = task.directions()
    usual = dict(zip(directions.blocks, directions.directions.float(), strict=True))
    found = []
    for vectors in learned(task):
        steering, rounded = vectors.steering(task), vectors.steering(task, dtype)
        edits = write(queries, steering=steering)
        theirs = NativeEngine(engine, vectors.native).generate(
            queries, max_new_tokens=task.settings.max_new_tokens
        )
        others = write([*queries, *queries], steering=[steering] * len(queries) + [None] * len(queries))
        near = [
            abs(float(torch.cosine_similarity(one, usual[block], dim=0)))
            for block, one in vectors.by_block.items()
        ]
        shares = [
            _same(theirs, edits),
            _same(theirs, write(queries, steering=rounded)),
            _same(edits, others[: len(queries)]),
            _same(edits, write(queries)),
            sum(near) / len(near),
        ]
        found.append([vectors.name, str(dtype).removeprefix("torch."), *(f"{share:.2f}" for share in shares)])
    return found


def _same(some: Sequence[Any], others: Sequence[Any]) -> float:
    return sum(one.text == other.text for one, other in zip(some, others, strict=True)) / len(some)


def command(
    model: Annotated[str, typer.Option("--model", "-m", help="As trimtab takes it.")] = "smollm2",
    instruction: Annotated[str, typer.Option("--instruction", "-i", help="What is learned.")] = "no_commas",
    dtypes: Annotated[str, typer.Option(metavar="LIST", help="Of the model.")] = "float32,bfloat16",
    pairs: Annotated[int, typer.Option(min=2, help="Prompt pairs to learn from.")] = 24,
    queries: Annotated[int, typer.Option(min=1, help="Questions that are answered.")] = 6,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 48,
    seed: Annotated[int, typer.Option(min=0, help="Chooses questions and phrasings.")] = 0,
    page: Annotated[
        Path | None, typer.Option("--into", help="A page whose place for the table is filled.")
    ] = None,
) -> None:
    """Compare what libraries write by their own code with what their vectors write as edits."""
    [wanted] = parse_instructions(instruction)
    settings = Settings(pairs=pairs, validation=queries, max_new_tokens=max_new_tokens, seed=seed)
    head = [
        "vectors",
        "dtype",
        "their code = edits",
        "= edits, rounded",
        "edits = among others",
        "edits = plain",
    ]
    grid = [[*head, "cosine"]]
    for dtype in dtypes.split(","):
        engine: Any = Loading(dtype=dtype).open(Output(), model)
        grid += lines(Task(engine, wanted, settings))
    note = (
        f"{model}, {wanted.label}: {pairs} pairs, {queries} answers of at most {max_new_tokens} tokens; shares of the\n"
        "answers that are the same to the letter. `rounded`: the vector to the model's dtype first. `among others`:\n"
        "in a batch with as many plain rows. `cosine`: with the mean difference, unsigned, mean over the blocks."
    )
    text = f"{markdown_table(grid)}\n\n{note}"
    if page is not None:
        write_text(page, put_into(read_text(page), text, _PLACE))
    typer.echo(text)


if __name__ == "__main__":
    sys.exit(run(command, "python -m benchmarks.compare.libraries"))
