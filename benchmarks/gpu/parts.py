"""The parts: each is run in a process of its own, prints nothing, and gives what it measured as plain JSON."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from trimtab.errors import TrimtabError

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Sizes:
    """How large everything is.

    Attributes:
        device: Where.
        dtype: Of weights.
        widths: Of the fused operation.
        tokens: Tokens of a step of it.
        edits: Gated edits in every block.
        shape: Of `benchmarks.shapes`: what decodes and learns with random weights.
        batches: Rows decoded at once.
        new_tokens: Tokens of an answer.
        repeats: How often each is measured.
        pairs: Prompt pairs, and lessons, to learn from.
        steps: Most steps of a distillation.
        real: The model with weights of its own that learns too.
    """

    device: str = "cuda"
    dtype: str = "bfloat16"
    widths: tuple[int, ...] = (2048, 4096, 5120, 8192)
    tokens: tuple[int, ...] = (1, 32, 256)
    edits: tuple[int, ...] = (1, 2, 3, 4)
    shape: str = "mistral-7b"
    batches: tuple[int, ...] = (1, 32, 256)
    new_tokens: int = 64
    repeats: int = 3
    pairs: int = 48
    steps: int = 60
    real: str = "smollm2"

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype of torch."""
        found: torch.dtype = getattr(torch, self.dtype)
        return found


SMALL = Sizes("cpu", "float32", (64, 128), (1, 4), (1, 4), "tiny_for_vllm", (1, 4), 8, 2, 8, 6, "nano")
"""For a CPU: nothing but that every part runs."""


def tests(sizes: Sizes) -> dict[str, Any]:
    """The tests marked for a GPU."""
    environment = dict(os.environ)
    if sizes.device == "cpu":
        environment["TRIMTAB_TEST_GPU"] = "cpu"
    marked = ("tests/on_gpu", "tests/vllm/worker/test_kernel.py")
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", *marked]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {
        "exit_code": done.returncode,
        "summary": lines[-1] if lines else done.stderr[-300:],
        "failed": failed,
    }


def operation(sizes: Sizes) -> dict[str, Any]:
    """The fused operation beside a block's own matrix products: its share, by width, tokens and edits."""
    from benchmarks.serving.kernel import Blocks, measure
    from benchmarks.shapes import layers_of

    device = torch.device(sizes.device)
    kinds: Mapping[str, int | None] = {str(count): count for count in sizes.edits}
    rows = []
    for width in sizes.widths:
        for tokens in sizes.tokens:
            with torch.inference_mode():
                most = max(sizes.edits)
                blocks = Blocks(layers_of(width, 2), tokens, most, sizes.torch_dtype, device, kinds)
                found = measure(blocks, 5 * sizes.repeats, 10)
            rows += [
                {
                    "width": width,
                    "tokens": tokens,
                    "edits": kind,
                    "layer_us": median(found.base) / blocks.count * 1e6,
                    "alone_us": median(found.alone[kind]) / blocks.count * 1e6,
                    "share": found.share(kind),
                    "slowdown": found.slowdown(kind),
                }
                for kind in kinds
            ]
            del blocks
    worst = max(rows, key=lambda row: float(row["share"]))
    return {"aim": "share <= 0.02", "worst": worst, "rows": rows}


def interpreter(sizes: Sizes) -> dict[str, Any]:
    """The Triton kernel under its interpreter, against plain torch; needs no GPU, only Triton."""
    os.environ["TRITON_INTERPRET"] = "1"
    try:
        from trimtab.vllm.worker import kernel
    except ImportError as error:
        return {"left_out": f"Triton is not installed here ({error})"}
    checked = [
        {"width": width, "edits": gates, "error": _interpreted(kernel, width, gates)}
        for width in (64, 100, 2048)
        for gates in sizes.edits
    ]
    return {"worst": max(row["error"] for row in checked), "rows": checked}


def _interpreted(kernel: Any, width: int, gates: int) -> float:
    """The largest difference to the formula, of four tokens."""
    random = torch.Generator().manual_seed(width + gates)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random)

    stream, addend = normal(4, width), normal(4, width)
    added, p, u = normal(15, width), normal(5, gates, width) / width, normal(5, gates, width)
    strength = normal(15, gates)
    strength[:3] = 0
    added[:3] = 0
    index = torch.tensor([0, 4, 8, 14], dtype=torch.int32)
    slot = index // 3
    inside = torch.einsum("td,tkd->tk", stream + addend, p[slot])
    expected = stream + added[index] + torch.einsum("tk,tkd->td", strength[index] * inside, u[slot])
    kernel.steer(stream, addend, index, added, p, u, strength)
    return float((stream - expected).abs().max())


def decoding(sizes: Sizes) -> dict[str, Any]:
    """Steered against unsteered decoding of the transformers engine."""
    from benchmarks.measuring import Plan
    from benchmarks.measuring import decoding as decoded
    from benchmarks.shapes import random_engine

    engine = random_engine(sizes.shape, device=torch.device(sizes.device), dtype=sizes.torch_dtype)
    plan = Plan(sizes.batches, sizes.new_tokens, sizes.repeats, sizes.pairs, sizes.steps)
    rows = {str(count): _fitted(lambda count=count: decoded(engine, count, plan)) for count in sizes.batches}  # type: ignore[misc]
    return {"aim": "ratio >= 0.97", "shape": sizes.shape, "batches": rows}


def vllm(sizes: Sizes) -> dict[str, Any]:
    """The same on vLLM, where it is installed, with another steering in every row."""
    try:
        import vllm as installed
    except ImportError:
        return {"left_out": "vLLM is not installed here"}
    import trimtab
    from benchmarks.measuring import steering_of
    from benchmarks.shapes import random_model, random_tokenizer

    with tempfile.TemporaryDirectory() as folder:
        model = random_model(sizes.shape, device=torch.device(sizes.device), dtype=sizes.torch_dtype)
        model.save_pretrained(folder)
        random_tokenizer().save_pretrained(folder)
        del model
        _empty(sizes)
        longest = {"max_model_len": 512, "max_num_seqs": max(sizes.batches)}
        engine = trimtab.load(folder, engine="vllm", dtype=sizes.dtype, record=False, **longest)
        try:
            rows = {str(count): _on_vllm(engine, count, sizes, steering_of) for count in sizes.batches}
        finally:
            engine.close()  # type: ignore[attr-defined]
    return {"aim": "ratio >= 0.97", "vllm": installed.__version__, "shape": sizes.shape, "batches": rows}


def _on_vllm(engine: Any, count: int, sizes: Sizes, steering_of: Callable[..., Any]) -> dict[str, Any]:
    from trimtab import nano

    known = nano.queries("learning")
    queries = [known[number % len(known)] for number in range(count)]
    ways = {"unsteered": None, "per row": [steering_of(engine, "gated", seed) for seed in range(count)]}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    written = 0
    for _ in range(sizes.repeats + 1):
        for way, steering in ways.items():
            start = time.perf_counter()
            answers = engine.generate(queries, steering=steering, max_new_tokens=sizes.new_tokens)
            seconds[way].append(time.perf_counter() - start)
            written = sum(len(one.token_ids) for one in answers)
    pairs = zip(seconds["unsteered"][1:], seconds["per row"][1:], strict=True)
    return {
        "unsteered": written / median(seconds["unsteered"][1:]),
        "ratio": {"per row": median(plain / own for plain, own in pairs)},
    }


def learning(sizes: Sizes) -> dict[str, Any]:
    """Seconds and memory of learning one instruction: on a real model, and on a random one of 7 B shapes."""
    import trimtab
    from benchmarks import measuring
    from benchmarks.shapes import random_engine

    plan = measuring.Plan(sizes.batches, sizes.new_tokens, sizes.repeats, sizes.pairs, sizes.steps)
    found: dict[str, Any] = {}
    try:
        engine: Any = trimtab.load(sizes.real, device=sizes.device)
        found[sizes.real] = _learned(measuring, engine, plan)
    except TrimtabError as error:  # its weights are out of reach
        found[sizes.real] = {"left_out": str(error)}
    engine = None
    _empty(sizes)
    engine = random_engine(sizes.shape, device=torch.device(sizes.device), dtype=sizes.torch_dtype)
    found[f"random {sizes.shape}"] = _learned(measuring, engine, plan)
    return found


def _learned(measuring: Any, engine: Any, plan: Any) -> dict[str, Any]:
    return {
        "mean_difference": _fitted(lambda: measuring.learning(engine, plan)),
        "distill": _fitted(lambda: measuring.distilling(engine, plan)),
    }


def _fitted(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return {"left_out": "out of memory"}


def _empty(sizes: Sizes) -> None:
    if sizes.device == "cuda":
        torch.cuda.empty_cache()


PARTS: dict[str, tuple[Callable[[Sizes], dict[str, Any]], int]] = {
    "tests": (tests, 120),
    "operation": (operation, 100),
    "interpreter": (interpreter, 40),
    "decoding": (decoding, 120),
    "vllm": (vllm, 120),
    "learning": (learning, 100),
}
"""In their order, each with the most seconds that it may take."""
