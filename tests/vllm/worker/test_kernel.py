"""The Triton kernel against plain torch: under Triton's interpreter on any machine that has Triton, and on a GPU.

The interpreter is chosen by a variable of the environment before Triton is imported, so this file runs itself in a
process of its own. What is compiled for GPUs is compiled here, too, down to machine code; no GPU is needed for that.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from tests.vllm.worker.by_hand import DTYPES, Case, case, cases, overflowing, same_bits, with_untouchable

from trimtab.vllm.worker import operation

pytest.importorskip("triton", minversion="3.6", reason="vLLM brings Triton, of that version or a newer one")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
BATCH = [3, 3, 3, 0, 5, 8, 2, 11, 7]

runs_the_kernel = pytest.mark.skipif(
    not INTERPRETED, reason="run by test_under_the_interpreter in a process of its own"
)
on_a_gpu = pytest.mark.skipif(
    INTERPRETED or not torch.cuda.is_available(), reason="needs a GPU that torch can use"
)


@pytest.mark.skipif(INTERPRETED, reason="this is the process of its own")
def test_under_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__).resolve())]
    run = subprocess.run(
        command,
        env={**os.environ, "TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.filterwarnings("ignore:.*TRITON_DEFAULT_FP_FUSION.*:UserWarning")
@pytest.mark.parametrize("addend", [True, False])
@pytest.mark.parametrize(
    ("width", "gates", "dtype"),
    [(4096, 4, "bf16"), (4096, 1, "fp16"), (1000, 3, "fp32"), (8192, 8, "bf16"), (12288, 4, "bf16")],
)
@pytest.mark.parametrize(
    ("kind", "arch", "lanes"), [("cuda", 90, 32), ("cuda", 80, 32), ("hip", "gfx942", 64)]
)
def test_it_compiles_for_gpus(
    kind: str, arch: Any, lanes: int, width: int, gates: int, dtype: str, addend: bool
) -> None:
    """With loads of 16 bytes, and one exchange between the warps for all gates that are read at once."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from trimtab.vllm.worker import kernel

    piece = min(triton.next_power_of_2(width), kernel._WIDEST)
    padded = triton.next_power_of_2(gates)
    constants = {
        "WIDTH": width,
        "GATES": gates,
        "GATES_PADDED": padded,
        "AT_ONCE": min(padded, kernel._AT_ONCE),
        "PIECE": piece,
        "MOST": {"fp16": 63488.0, "bf16": 3.3895313892515355e38, "fp32": 3.4028234663852886e38}[dtype],
        "FILL": {"fp16": 65504.0, "bf16": 3.3895313892515355e38, "fp32": 3.4028234663852886e38}[dtype],
        "LAST": False,
    }
    if not addend:
        constants["addend"] = None
    types = dict.fromkeys(("stream", "addend", "added", "p", "u"), f"*{dtype}")
    types |= {"index": "*i32", "strength": "*fp32", "stream_stride": "i32", "addend_stride": "i32"}
    names = kernel._steer.arg_names
    signature = {name: "constexpr" if name in constants else types[name] for name in names}
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in names if name not in constants}
    source = ASTSource(
        kernel._steer, signature, {(names.index(name),): value for name, value in constants.items()}, aligned
    )
    warps = kernel.warps_of(piece)
    assert warps * lanes <= 1024
    compiled = triton.compile(source, target=GPUTarget(kind, arch, lanes), options={"num_warps": warps})
    if kind == "cuda":
        assert len(compiled.asm["cubin"]) > 1000
        if width == 4096:
            assert compiled.asm["ptx"].count("bar.sync") == 1
            assert compiled.asm["ptx"].count("ld.global.v4") >= 2 + addend + 2 * gates
    else:
        assert len(compiled.asm["hsaco"]) > 1000


def _kernel(**options: Any) -> Callable[..., None]:
    from trimtab.vllm.worker import kernel

    return lambda *arguments: kernel.steer(*arguments, **options)


@runs_the_kernel
@pytest.mark.parametrize("piece", [8192, 16])
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(made=cases(longest=3, most=4))
def test_every_token_gets_what_its_edits_say(piece: int, made: Case) -> None:
    """Held at once, and in pieces; and what the torch way gives differs by rounding alone."""
    if not made.entries:
        return
    stream, *others = made.arguments()
    _kernel(piece=piece)(stream, *others)
    made.check(stream)
    other = made.arguments()
    operation._steer_on_cpu(*other)  # type: ignore[arg-type]
    torch.testing.assert_close(
        stream.float(),
        other[0].float(),
        rtol=torch.finfo(stream.dtype).eps,
        atol=1e-4,  # type: ignore[union-attr]
    )


@runs_the_kernel
@pytest.mark.parametrize("piece", [8192, 16])
@pytest.mark.parametrize("dtype", DTYPES)
def test_tokens_that_are_not_steered_stay_bit_for_bit(dtype: torch.dtype, piece: int) -> None:
    made = with_untouchable(case(BATCH, dtype=dtype))
    stream, *others = made.arguments()
    _kernel(piece=piece)(stream, *others)
    same = [same_bits(*rows) for rows in zip(stream, made.stream, strict=True)]
    assert all(same[token] for token, entry in enumerate(BATCH) if entry < 3)
    assert not all(same)


@runs_the_kernel
@pytest.mark.filterwarnings(
    "ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning"
)
@pytest.mark.parametrize("piece", [8192, 16])
@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_overflows_stays_finite(dtype: torch.dtype, gated: bool, piece: int) -> None:
    stream, *others = overflowing(BATCH, dtype=dtype, gated=gated).arguments()
    _kernel(piece=piece)(stream, *others)
    assert bool(stream.isfinite().all())  # type: ignore[union-attr]


@runs_the_kernel
@pytest.mark.filterwarnings(
    "ignore:overflow encountered:RuntimeWarning", "ignore:invalid value:RuntimeWarning"
)
@pytest.mark.parametrize("piece", [8192, 16])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_overflows_is_what_it_is_without_the_kernel(dtype: torch.dtype, last: bool, piece: int) -> None:
    """The largest number, and no number behind the last block; what is sound stays itself."""
    for made in (overflowing(BATCH, dtype=dtype, gated=False), case(BATCH, dtype=dtype)):
        mine, other = made.arguments(), made.arguments()
        _kernel(piece=piece)(*mine, last)
        operation._steer_by_formula(*other, last)  # type: ignore[arg-type]
        torch.testing.assert_close(mine[0], other[0], equal_nan=True, rtol=1e-2, atol=1e-2)


@runs_the_kernel
@pytest.mark.parametrize("piece", [8192, 16])
def test_an_edit_that_is_not_there_is_not_read(piece: int) -> None:
    made = case(BATCH)
    for phase in range(3):
        made.strength[phase::3][:, 1] = 0.0
    kept = made.arguments()
    made.p[:, 1], made.u[:, 1] = float("nan"), float("nan")
    seen = made.arguments()
    for arguments in (kept, seen):
        _kernel(piece=piece)(*arguments)
    assert same_bits(kept[0], seen[0])  # type: ignore[arg-type]


@runs_the_kernel
@pytest.mark.parametrize("piece", [8192, 16])
def test_streams_may_have_gaps_between_their_tokens(piece: int) -> None:
    made = case(BATCH)
    stream, addend = torch.full((2, len(BATCH), 50), 7.0)
    stream[:, :32], addend[:, :32] = made.stream, made.addend
    _, _, *others = made.arguments()
    _kernel(piece=piece)(stream[:, :32], addend[:, :32], *others)
    made.check(stream[:, :32])
    assert bool((stream[:, 32:] == 7.0).all())
    turned = made.addend.T.contiguous().T  # type: ignore[union-attr]
    stream, _, *others = made.arguments()
    _kernel(piece=piece)(stream, turned, *others)
    made.check(stream)


@runs_the_kernel
def test_the_operator_calls_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from trimtab.vllm.worker import kernel

    called = []
    real = kernel.steer
    monkeypatch.setattr(kernel, "steer", lambda *arguments: (called.append(1), real(*arguments)))
    made = case(BATCH)
    for run in (operation.steer, torch.compile(operation.steer, backend="aot_eager", fullgraph=True)):
        stream, *others = made.arguments()
        run(stream, *others)
        made.check(stream)
    assert len(called) == 2
    empty = case([])
    operation.steer(*empty.arguments())  # type: ignore[arg-type]
    assert len(called) == 2


@runs_the_kernel
@pytest.mark.parametrize("addend", [True, False])
def test_torch_approves_of_the_operator(addend: bool) -> None:
    torch.library.opcheck(torch.ops.trimtab.steer.default, case(BATCH, addend=addend).arguments())


@pytest.mark.gpu
@on_a_gpu
@settings(max_examples=60)
@given(made=cases())
def test_on_a_gpu_every_token_gets_what_its_edits_say(made: Case) -> None:
    stream, *others = made.arguments("cuda")
    operation.steer(stream, *others)
    made.check(stream)


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("width", [1000, 4096, 12288])
@pytest.mark.parametrize("dtype", DTYPES)
def test_on_a_gpu_at_real_widths(dtype: torch.dtype, width: int) -> None:
    made = with_untouchable(case([*BATCH, 2, *[6] * 300], width=width, dtype=dtype))
    stream, *others = made.arguments("cuda")
    operation.steer(stream, *others)
    made.check(stream)


@pytest.mark.gpu
@on_a_gpu
def test_on_a_gpu_a_captured_graph_reads_what_was_written_last() -> None:
    """The batch changes, its buffers stay."""
    first, second = case(BATCH, seed=1), case([5, 0, 2, 4, 4, 0, 7, 6, 1], seed=2)
    held = first.arguments("cuda")
    operation.steer(*held)  # compiled before the capture  # type: ignore[arg-type]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        operation.steer(*held)  # type: ignore[arg-type]
    for made in (second, first):
        for kept, new in zip(held, made.arguments("cuda"), strict=True):
            kept.copy_(new)  # type: ignore[union-attr, arg-type]
        graph.replay()
        made.check(held[0])  # type: ignore[arg-type]


@pytest.mark.gpu
@on_a_gpu
def test_on_a_gpu_a_compiled_model_holds_the_operator() -> None:
    made = case(BATCH)
    stream, *others = made.arguments("cuda")
    torch.compile(operation.steer, fullgraph=True)(stream, *others)
    made.check(stream)
