"""The fused operation in plain torch: equal, token by token, to the formula of `trimtab.steering.edits`."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from tests.vllm.worker.by_hand import DTYPES, Case, case, cases, overflowing, same_bits, with_untouchable
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from trimtab.vllm.worker import operation
from trimtab.vllm.worker.operation import record, steer

WAYS = {"as it is": operation._steer_on_cpu, "by the formula": operation._steer_by_formula}

# 30 tokens of a prompt, one unsteered, then answers: some of one entry, and one that is not steered among them.
BATCH = [3] * 30 + [0] + [5, 8, 8, 1, 11, 5, 4]

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")


def done(made: Case, way: Any = steer) -> Tensor:
    stream, *others = made.arguments()
    way(stream, *others)
    return stream


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@given(made=cases())
def test_every_token_gets_what_its_edits_say(way: Any, made: Case) -> None:
    made.check(done(made, way))


@given(made=cases())
def test_the_operator_is_one_of_them(made: Case) -> None:
    made.check(done(made))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("addend", [True, False])
def test_tokens_that_are_not_steered_stay_bit_for_bit(way: Any, dtype: torch.dtype, addend: bool) -> None:
    for entries in ([0, 3, 1, 5, 0], BATCH, [0] * 20, [3] * 20 + [2] * 20 + [5], [2]):
        made = with_untouchable(case(entries, dtype=dtype, addend=addend))
        got = done(made, way)
        same = [same_bits(*rows) for rows in zip(got, made.stream, strict=True)]
        assert all(same[token] for token, entry in enumerate(entries) if entry < 3)
        assert all(same) == all(entry < 3 for entry in entries)


def test_all_edits_of_a_block_read_the_same_stream() -> None:
    """Two gated edits that swap two values: one after the other, the second would read what the first wrote."""
    e = torch.eye(4)
    for tokens in (1, 3, 20):
        stream = torch.tensor([[3.0, 5.0, 0.0, 0.0]]).repeat(tokens, 1)
        p = torch.stack([torch.zeros(2, 4), torch.stack([e[1] - e[0], e[0] - e[1]])])
        u = torch.stack([torch.zeros(2, 4), torch.stack([e[0], e[1]])])
        strength = torch.tensor([[0.0, 0.0]] * 3 + [[1.0, 1.0]] * 3)
        index = torch.full((tokens,), 3, dtype=torch.int32)
        for way in (steer, *WAYS.values()):
            changed = stream.clone()
            way(changed, None, index, torch.zeros(6, 4), p, u, strength)
            assert torch.equal(changed, torch.tensor([[5.0, 3.0, 0.0, 0.0]]).repeat(tokens, 1))


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_an_edit_that_is_not_there_is_not_read(way: Any) -> None:
    made = case(BATCH)
    phases = made.strength.view(4, 3, 3)
    phases[:, :, 1] = 0.0
    kept = done(made, way)
    assert bool(phases[1:].any())
    made.p[1:, 1], made.u[1:, 1] = float("nan"), float("nan")
    assert same_bits(done(made, way), kept)


def test_nobody_steered_runs_no_operation() -> None:
    arguments = case([0] * 100).arguments()
    with _Count() as counted:
        operation._steer_on_cpu(*arguments)  # type: ignore[arg-type]
    assert counted.names == []


def test_additions_alone_are_one_gather_and_one_sum() -> None:
    made = case([3, 5, 6, 8, 9, 11], gates=2)
    made.strength.zero_()
    arguments = made.arguments()
    with _Count() as counted:
        operation._steer_on_cpu(*arguments)  # type: ignore[arg-type]
    assert counted.names == ["aten::index_select", "aten::add_", "aten::nan_to_num_"]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_overflows_stays_finite(way: Any, dtype: torch.dtype) -> None:
    for gated in (True, False):
        made = overflowing(BATCH, dtype=dtype, gated=gated)
        got = done(made, way)
        assert bool(got.isfinite().all())
        assert float(got.abs().max()) == torch.finfo(dtype).max


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_what_overflowed_is_no_number_behind_the_last_block(way: Any, dtype: torch.dtype) -> None:
    """In the tokens in which something did, there or before; a block takes a little off what is carried in float16."""
    sound = case(BATCH, dtype=dtype)
    assert same_bits(done(sound, way), done(sound, lambda *arguments: way(*arguments, True)))
    steered = torch.tensor([entry > 2 for entry in BATCH])
    for gated in (True, False):
        made = overflowing(BATCH, dtype=dtype, gated=gated)
        assert done(made, lambda *arguments: way(*arguments, True)).isnan().any(1).equal(steered)
    for before in (torch.nan, torch.inf, torch.finfo(dtype).max):
        made = case(BATCH, dtype=dtype)
        made.stream[:, 3] = before
        carried = done(made, way)
        carried[steered] = carried[steered] - 500
        then = replace(case(BATCH, dtype=dtype, seed=1), stream=carried)
        assert done(then, lambda *arguments: way(*arguments, True))[:, 3][steered].isnan().all()


def test_a_stream_may_have_gaps_between_its_tokens() -> None:
    made = case(BATCH)
    wide = torch.full((len(BATCH), 50), 7.0)
    wide[:, :32] = made.stream
    _, *others = made.arguments()
    steer(wide[:, :32], *others)
    made.check(wide[:, :32].contiguous())
    assert bool((wide[:, 32:] == 7.0).all())


@pytest.mark.parametrize("addend", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_torch_approves_of_the_operators(dtype: torch.dtype, addend: bool) -> None:
    """The schema says what is changed, the fake and functional forms agree with the real one, also for any size."""
    made = case(BATCH, dtype=dtype, addend=addend)
    torch.library.opcheck(torch.ops.trimtab.steer.default, made.arguments())
    for other in (torch.float32, torch.bfloat16):
        destination = torch.zeros(50, 32, dtype=other)
        torch.library.opcheck(torch.ops.trimtab.record.default, (made.stream, made.addend, destination))


def _model(made: Case) -> Any:
    """Something to compile around the operation, with the stream in two parts."""

    def run(stream: Tensor, addend: Tensor, index: Tensor, destination: Tensor) -> tuple[Tensor, Tensor]:
        residual = 2.0 * stream
        hidden = addend.tanh()
        steer(residual, hidden, index, made.added, made.p, made.u, made.strength)
        record(residual, hidden, destination)
        return residual + hidden, residual

    return run


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_compiled_model_computes_the_same(dtype: torch.dtype) -> None:
    made = case(BATCH, dtype=dtype)
    model = _model(made)
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    for tokens in (len(BATCH), 5, 33):  # the buffers stay, the batch has another size and other requests
        stream = torch.randn(tokens, 32).to(dtype)
        addend = torch.randn(tokens, 32).to(dtype)
        index = made.index.roll(tokens)
        expected, seen = torch.zeros(2, 50, 32)
        outputs = model(stream, addend, index, expected)
        for one, other in zip(outputs, compiled(stream, addend, index, seen), strict=True):
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(expected, seen, rtol=tolerance, atol=tolerance)
        assert bool((index[:tokens] > 1).any())


@pytest.mark.skipif(
    operation._INTERPRETED or os.environ.get("TRITON_INTERPRET") == "1", reason="then the kernel is called"
)
def test_a_model_compiled_for_a_cpu_holds_the_formula_and_else_the_operator() -> None:
    made = case(BATCH)
    graphs: list[torch.fx.GraphModule] = []

    def look(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    arguments = (made.stream, made.addend, made.index, torch.zeros(50, 32))
    torch.compile(_model(made), backend=look, fullgraph=True)(*arguments)
    names = {str(node.target) for node in graphs[0].graph.nodes}
    assert "trimtab.steer" not in names
    assert "trimtab.record" in names


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("stored", DTYPES)
def test_record_takes_the_sum_in_float32_and_leaves_what_is_behind(
    dtype: torch.dtype, stored: torch.dtype
) -> None:
    stream, addend = torch.randn(2, 5, 16).to(dtype)
    before = (stream.clone(), addend.clone())
    for other in (addend, None):
        destination = torch.full((8, 16), 9.0, dtype=stored)
        record(stream, other, destination)
        wanted = stream.float() if other is None else stream.float() + addend.float()
        assert same_bits(destination[:5], wanted.to(stored))
        assert bool((destination[5:] == 9.0).all())
        assert torch.equal(stream, before[0])
        assert torch.equal(addend, before[1])


@settings(max_examples=20)
@given(made=cases())
def test_what_is_only_read_stays(made: Case) -> None:
    stream, *others = made.arguments()
    kept = [None if one is None else one.clone() for one in others]
    steer(stream, *others)
    for one, other in zip(others, kept, strict=True):
        assert (one is None and other is None) or same_bits(one, other)


class _Count(TorchDispatchMode):
    """The operations that compute something; views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not func.is_view and func is not torch.ops.aten.detach.default:
            self.names.append(func.name().split(".")[0])
        return func(*args, **(kwargs or {}))
