"""`python -m benchmarks.serving.kernel`: what the fused operation costs beside a model's own matrix products.

One step of a batch in which every token is of another request with another steering: the matrix products of all blocks
(attention's projections and the feed-forward part; nothing else of a model, which is the strictest base), the operation
behind each block alone, and both together. On a GPU each is one captured CUDA graph; on a CPU the operation alone is
called from Python, and together they are compiled, block by block. Repeats are interleaved, ratios are taken
within a repeat, and what is shown is the median.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Annotated, Any

import torch
import typer
from torch import Tensor
from torch.nn.functional import linear

from benchmarks.serving.table import MarkdownOption, show
from benchmarks.shapes import SHAPES, Shape, shape_names
from trimtab.cli.output import JsonOption, Output, QuietOption
from trimtab.errors import TrimtabError
from trimtab.progress import Tell, silent
from trimtab.vllm.worker.operation import steer

KINDS = {"idle": None, "additions": 0, "1 gated edit": 1, "2 gated edits": 2}
"""What is steered, and with how many gated edits in every block; None for nobody."""
HEADER = ("every block", "us a block", "alone", "together")
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}

Step = Callable[[], list[Tensor]]
"""One step of the batch; returns what every block gave, lest a compiler leave out what nobody needs."""
Run = Callable[[], float]
"""Runs one step of the batch some times; returns the seconds of one."""


@dataclass(frozen=True)
class Measured:
    """Seconds of a step, one figure for each repeat.

    Attributes:
        base: The matrix products.
        alone: The operation of all blocks, by kind.
        together: Both, by kind.
    """

    base: list[float]
    alone: dict[str, list[float]]
    together: dict[str, list[float]]

    def share(self, kind: str) -> float:
        """The operation alone, as a share of the matrix products; the median over repeats."""
        return median(own / base for own, base in zip(self.alone[kind], self.base, strict=True))

    def slowdown(self, kind: str) -> float:
        """How much longer both take than the matrix products, as a share of those; the median over repeats."""
        return median(both / base - 1 for both, base in zip(self.together[kind], self.base, strict=True))


class Blocks:
    """The matrices of all blocks of a shape with random weights, and full tables for them.

    Args:
        shape: One of `benchmarks.shapes`, or its name there.
        batch: Tokens of a step, each with a steering of its own.
        gates: Gated edits for which the tables have room.
        dtype: Of weights, stream and tables.
        device: Where.
        kinds: What is steered, as `KINDS` has it.
    """

    def __init__(
        self,
        shape: str | Shape,
        batch: int,
        gates: int,
        dtype: torch.dtype,
        device: torch.device,
        kinds: Mapping[str, int | None] = KINDS,
    ) -> None:
        import transformers

        known = SHAPES[shape] if isinstance(shape, str) else shape
        config = getattr(transformers, known.config)(**known.values)
        self.kinds = kinds
        self.width, self.feed_forward = config.hidden_size, config.intermediate_size
        head = getattr(config, "head_dim", None) or self.width // config.num_attention_heads
        self.attended = head * config.num_attention_heads
        self.count = config.num_hidden_layers
        random = torch.Generator(device).manual_seed(0)

        def normal(*sizes: int, scale: float = 1.0) -> Tensor:
            return torch.randn(*sizes, generator=random, device=device, dtype=dtype).mul_(scale)

        matrices = (
            (self.attended + 2 * head * config.num_key_value_heads, self.width),
            (self.width, self.attended),
            (2 * self.feed_forward, self.width),
            (self.width, self.feed_forward),
        )
        slots = batch + 1
        self.weights = [
            [normal(*sizes, scale=sizes[1] ** -0.5) for sizes in matrices] for _ in range(self.count)
        ]
        self.tables = [
            (
                normal(3 * slots, self.width, scale=1e-3),
                normal(slots, gates, self.width, scale=self.width**-0.5),
                normal(slots, gates, self.width, scale=1e-3),
            )
            for _ in range(self.count)
        ]
        self.input, self.stream = normal(2, batch, self.width)
        # Requests come to their slots in any order, and every token is one that its model wrote.
        order = torch.randperm(batch, generator=torch.Generator().manual_seed(0)) + 1
        self.steered = (3 * order + 2).int().to(device)
        self.strength = {
            kind: torch.zeros(3 * slots, gates, device=device).index_fill_(
                1, torch.arange(used or 0, device=device), 1.0
            )
            for kind, used in kinds.items()
        }

    def products(self, weights: Sequence[Tensor]) -> Tensor:
        """The matrix products of a block; what stands between them is left out."""
        to_attention, from_attention, up, down = weights
        attended = linear(linear(self.input, to_attention)[:, : self.attended], from_attention)
        return linear(linear(attended, up)[:, : self.feed_forward], down)

    def step(self, kind: str | None, *, products: bool, compiled: bool = False) -> Step:
        """One step through all blocks.

        Args:
            kind: Which of the kinds; None leaves the operation out.
            products: Whether the matrix products are computed; else the operation stands alone.
            compiled: Whether a block is compiled, as vLLM does it on a CPU from one attention to the next.
        """
        index = None if kind is None else self.steered if self.kinds[kind] is not None else self.steered * 0
        strength = None if kind is None else self.strength[kind]

        def block(weights: Sequence[Tensor], tables: tuple[Tensor, Tensor, Tensor]) -> Tensor:
            output = self.products(weights) if products else self.input
            if index is not None and strength is not None:
                steer(self.stream, output, index, *tables, strength)
            return output

        call = torch.compile(block, fullgraph=True) if compiled else block
        return lambda: [call(*one) for one in zip(self.weights, self.tables, strict=True)]


def measure(blocks: Blocks, repeats: int, steps: int, tell: Tell = silent) -> Measured:
    """Times everything, interleaved, after one repeat that warms up.

    Args:
        blocks: The model.
        repeats: How often each is measured.
        steps: Steps in one measurement.
        tell: Told of every repeat.
    """
    cuda = blocks.stream.device.type == "cuda"
    ready = _captured if cuda else _called
    tell("preparing", 0)
    runs: dict[tuple[str, str], Run] = {
        ("base", ""): ready(blocks.step(None, products=True, compiled=not cuda), steps)
    }
    for kind in blocks.kinds:
        runs["alone", kind] = ready(blocks.step(kind, products=False), steps)
        runs["together", kind] = ready(blocks.step(kind, products=True, compiled=not cuda), steps)
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    with torch.inference_mode():
        for repeat in range(repeats + 1):
            tell("measuring", repeat, repeats + 1)
            for key, run in runs.items():
                seconds[key].append(run())
    kept = {key: values[1:] for key, values in seconds.items()}
    return Measured(
        kept["base", ""],
        {kind: kept["alone", kind] for kind in blocks.kinds},
        {kind: kept["together", kind] for kind in blocks.kinds},
    )


def _captured(step: Step, steps: int) -> Run:
    """A step as a CUDA graph, timed by the GPU's own clock."""
    with torch.inference_mode():
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()  # what compiles and plans at its first use does so before the capture
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)

    def run() -> float:
        graph.replay()
        torch.cuda.synchronize()
        start.record()
        for _ in range(steps):
            graph.replay()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3 / steps

    return run


def _called(step: Step, steps: int) -> Run:
    """A step on a CPU."""

    def run() -> float:
        step()
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return (time.perf_counter() - start) / steps

    return run


def rows_of(measured: Measured, blocks: int) -> list[list[str]]:
    """The table as text, its header first."""
    rows = [list(HEADER), ["the matrix products", f"{median(measured.base) / blocks * 1e6:.1f}", "-", "-"]]
    for kind in KINDS:
        alone = f"{median(measured.alone[kind]) / blocks * 1e6:.1f}"
        rows.append([kind, alone, f"{measured.share(kind):.2%}", f"{measured.slowdown(kind):+.2%}"])
    return rows


def command(
    shape: Annotated[
        str, typer.Option(help="A shape of benchmarks/shapes.py; mistral-7b has the blocks of Llama 3 8B.")
    ] = "mistral-7b",
    batch: Annotated[int, typer.Option(min=1, help="Tokens of a step, each steered differently.")] = 256,
    gates: Annotated[int, typer.Option(min=2, help="Gated edits for which the tables have room.")] = 4,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats that count, after one that warms up.")] = 15,
    steps: Annotated[int, typer.Option(min=1, help="Steps in one measurement.")] = 10,
    dtype: Annotated[
        str, typer.Option(help="Of weights, stream and tables: bfloat16, float16, float32.")
    ] = "bfloat16",
    device: Annotated[str, typer.Option(help="cuda, cuda:1, cpu.")] = "cuda",
    markdown: MarkdownOption = None,
    json: JsonOption = None,
    quiet: QuietOption = False,
) -> None:
    """Measure the fused operation at the widths of real models, with random weights: nothing is downloaded."""
    output = Output(json, quiet)
    [name] = shape_names(shape) if "," not in shape else [shape]
    if name not in SHAPES:
        raise TrimtabError(f"one shape is measured at a time, not {shape!r}")
    if dtype not in _DTYPES:
        raise TrimtabError(f"there is no dtype {dtype!r} here; choose {', '.join(_DTYPES)}")
    target = torch.device(device)
    if target.type not in ("cuda", "cpu"):
        raise TrimtabError(f"this is measured on cuda or cpu, not on {device}")
    if target.type == "cuda" and not torch.cuda.is_available():
        raise TrimtabError(
            "there is no GPU here that torch can use; --device cpu measures the plain torch way"
        )
    with output.progress() as tell, torch.inference_mode():
        tell("making random weights", 0)
        blocks = Blocks(name, batch, gates, _DTYPES[dtype], target)
        measured = measure(blocks, repeats, steps, tell)
    where = (
        torch.cuda.get_device_name(target)
        if target.type == "cuda"
        else f"{torch.get_num_threads()} CPU threads"
    )
    caption = (
        f"{name}: {blocks.count} blocks of width {blocks.width}, {dtype}; {batch} tokens, each with a steering of its "
        f"own, tables for {gates} gated edits.\nAlone: time of the operation over that of the matrix products. "
        f"Together: how much longer both take than those. Medians of {repeats}.\n{where}, torch {torch.__version__}"
    )
    show(output, rows_of(measured, blocks.count), caption, markdown)
    output.result(_as_json(name, blocks, batch, gates, dtype, where, measured))


def _as_json(
    name: str, blocks: Blocks, batch: int, gates: int, dtype: str, where: str, measured: Measured
) -> dict[str, Any]:
    return {
        "shape": name,
        "blocks": blocks.count,
        "width": blocks.width,
        "batch": batch,
        "gates": gates,
        "dtype": dtype,
        "device": where,
        "torch": torch.__version__,
        "products": measured.base,
        "kinds": {
            kind: {
                "alone": measured.alone[kind],
                "together": measured.together[kind],
                "share": measured.share(kind),
                "slowdown": measured.slowdown(kind),
            }
            for kind in KINDS
        },
    }


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments: Those of the command line when None.

    Returns:
        The exit code: 0, or 2 for a mistake of the user, and where there is no GPU.
    """
    from benchmarks.running import run

    return run(command, "python -m benchmarks.serving.kernel", arguments)


if __name__ == "__main__":
    sys.exit(main())
