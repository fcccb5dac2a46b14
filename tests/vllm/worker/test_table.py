"""The serving table: whatever happened before, each token of a step is changed exactly as its own request asks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from trimtab.errors import SteeringError
from trimtab.steering import when
from trimtab.steering.edits import Edit, apply_edits
from trimtab.vllm.worker.table import SteeringTable

WIDTH, BLOCKS, GATES, TOKENS = 4, (1, 2), 2, 24


def some_edits(seed: int) -> list[Edit]:
    """An addition for the prompt, a gated edit for generated tokens and one elsewhere; all different by seed."""
    random = torch.Generator().manual_seed(seed)
    u, v, p = torch.randn(3, WIDTH, generator=random)
    return [
        Edit(1, u, 1.0, tokens="prompt" if seed % 2 else "all"),
        Edit(2, v, 0.5, p, tokens="generated" if seed % 3 else "all"),
        Edit(7, u, 1.0),  # a block of another worker
    ]


EDITS = {f"sha256:{seed}": some_edits(seed) for seed in range(6)}


def new_table(slots: int = 4, **changes: Any) -> SteeringTable:
    values: dict[str, Any] = {"gates": GATES, "tokens": TOKENS, "dtype": torch.float32, "device": "cpu"}
    return SteeringTable(BLOCKS, WIDTH, slots=slots, **{**values, **changes})


def table_of(count: int = 6, **changes: Any) -> SteeringTable:
    table = new_table(**changes)
    for digest in list(EDITS)[:count]:
        table.hold(digest, EDITS[digest])
    return table


def fill(table: SteeringTable, step: list[tuple[str, int, int]]) -> None:
    """A step of `(request, scheduled, computed)`."""
    ids, scheduled, computed = [list(column) for column in zip(*step, strict=True)] or [[], [], []]
    table.fill(ids, np.array(scheduled, dtype=np.int32), np.array(computed, dtype=np.int32))


def read(table: SteeringTable, block: int, hidden: torch.Tensor) -> torch.Tensor:
    """What the layer does: the buffers, applied to `[n, d]` by the index."""
    buffers = table.buffers(block)
    index = table.index[: len(hidden)].long()
    p, u, strength = buffers.p[index // 3], buffers.u[index // 3], buffers.strength[index]
    amounts = strength * torch.einsum("tkd,td->tk", p, hidden)
    return hidden + buffers.added[index] + torch.einsum("tk,tkd->td", amounts, u)


def by_definition(
    composition: dict[str, float], block: int, hidden: torch.Tensor, generated: list[bool]
) -> torch.Tensor:
    edits = [
        edit.scaled(strength)
        for digest, strength in composition.items()
        for edit in EDITS[digest]
        if edit.block == block and strength
    ]
    return apply_edits(hidden[None], edits, torch.tensor([generated]))[0]


def check(
    table: SteeringTable,
    step: list[tuple[str, int, int]],
    compositions: dict[str, tuple[dict[str, float], int]],
) -> None:
    """Compare the change of every token of a filled step, and that the padding behind it is not changed."""
    hidden = torch.randn(TOKENS, WIDTH, generator=torch.Generator().manual_seed(0))
    for block in BLOCKS:
        result, start = read(table, block, hidden), 0
        for request, scheduled, computed in step:
            composition, prompt = compositions[request]
            own = slice(start, start + scheduled)
            generated = [position >= prompt for position in range(computed, computed + scheduled)]
            expected = by_definition(composition, block, hidden[own], generated)
            torch.testing.assert_close(result[own], expected, rtol=1e-4, atol=1e-4)
            start += scheduled
        assert torch.equal(result[start:], hidden[start:])


class Serving(RuleBasedStateMachine):
    """Requests come, run in chunks, are preempted and leave; steerings come and go."""

    SLOTS = 3

    @initialize()
    def start(self) -> None:
        self.table = new_table(self.SLOTS)
        self.compositions: dict[str, tuple[dict[str, float], int]] = {}
        self.progress: dict[str, int] = {}
        self.waiting: dict[str, tuple[dict[str, float], int]] = {}
        self.number = 0

    @rule(digest=st.sampled_from(list(EDITS)))
    def hold(self, digest: str) -> None:
        self.table.hold(digest, EDITS[digest])
        assert digest in self.table.held

    @rule(digest=st.sampled_from(list(EDITS)))
    def forget(self, digest: str) -> None:
        self.table.forget(digest)
        assert digest not in self.table.held

    def room(self) -> bool:
        return len(self.compositions) < self.SLOTS

    @precondition(room)
    @rule(
        composition=st.dictionaries(
            st.sampled_from(list(EDITS)), st.sampled_from([0.0, 0.5, -1.0]), max_size=2
        ),
        prompt=st.integers(1, 9),
    )
    def admit(self, composition: dict[str, float], prompt: int) -> None:
        self.number += 1
        self.enter(f"request-{self.number}", composition, prompt, computed=0)

    def enter(self, request: str, composition: dict[str, float], prompt: int, computed: int) -> None:
        known = all(digest in self.table.held for digest, strength in composition.items() if strength)
        try:
            self.table.admit(request, list(composition.items()), prompt)
        except RuntimeError:
            assert not known
            assert request not in self.table.requests
            return
        self.compositions[request] = composition, prompt
        self.progress[request] = computed

    @precondition(lambda self: self.compositions)
    @rule(data=st.data())
    def release(self, data: Any) -> None:
        request = data.draw(st.sampled_from(sorted(self.compositions)))
        self.table.release(request)
        self.table.release(request)
        del self.compositions[request], self.progress[request]

    @precondition(lambda self: self.compositions)
    @rule(data=st.data())
    def preempt(self, data: Any) -> None:
        request = data.draw(st.sampled_from(sorted(self.compositions)))
        self.table.release(request)
        self.waiting[request] = self.compositions.pop(request)
        del self.progress[request]

    @precondition(lambda self: self.waiting and self.room())
    @rule(data=st.data(), cached=st.integers(0, 3))
    def resume(self, data: Any, cached: int) -> None:
        request = data.draw(st.sampled_from(sorted(self.waiting)))
        self.enter(request, *self.waiting.pop(request), computed=cached)

    @precondition(lambda self: self.compositions)
    @rule(data=st.data(), composition=st.dictionaries(st.sampled_from(list(EDITS)), st.just(1.0), max_size=1))
    def admit_again(self, data: Any, composition: dict[str, float]) -> None:
        request = data.draw(st.sampled_from(sorted(self.compositions)))
        prompt, computed = self.compositions.pop(request)[1], self.progress.pop(request)
        self.enter(request, composition, prompt, computed)

    @rule(data=st.data())
    def step(self, data: Any) -> None:
        """Some of the requests, in any order, some tokens each."""
        order = data.draw(st.permutations(sorted(self.compositions)))
        step = [
            (request, data.draw(st.integers(1, 7)), self.progress[request])
            for request in order[: data.draw(st.integers(0, len(order)))]
        ]
        fill(self.table, step)
        check(self.table, step, self.compositions)
        for request, scheduled, _ in step:
            self.progress[request] += scheduled

    @invariant()
    def the_counts_are_right(self) -> None:
        if not hasattr(self, "table"):
            return
        counts = self.table.statistics()
        distinct = {
            frozenset((digest, strength) for digest, strength in composition.items() if strength)
            for composition, _ in self.compositions.values()
        }
        assert set(self.table.requests) == set(self.compositions)
        assert counts["in_use"] == len(distinct - {frozenset()})
        assert counts["in_use"] <= counts["resident"] <= counts["slots"] == self.SLOTS
        assert counts["held"] == len(self.table.held)
        assert counts["writes"] == counts["resident"] + counts["evictions"]
        assert not any(buffer[:2].any() for block in BLOCKS for buffer in self.zero_rows(block))

    def zero_rows(self, block: int) -> list[torch.Tensor]:
        buffers = self.table.buffers(block)
        return [buffers.added, buffers.strength, buffers.p[:1], buffers.u[:1]]


TestServing = Serving.TestCase
TestServing.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)


def test_a_prompt_in_chunks_ends_where_it_ends() -> None:
    table = table_of()
    table.admit("a", [("sha256:1", 1.0)], prompt_tokens=5)
    table.admit("b", [], prompt_tokens=2)
    for step, expected in [
        ([("a", 3, 0), ("b", 3, 0)], [3, 3, 3, 0, 0, 0]),
        ([("b", 1, 3), ("a", 4, 3)], [0, 3, 3, 5, 5]),
        ([("a", 1, 7)], [5]),
    ]:
        fill(table, step)
        assert table.index[: len(expected)].tolist() == expected
        assert not table.index[len(expected) :].any()


def test_requests_with_one_use_share_one_slot() -> None:
    table = table_of()
    for number in range(10):
        table.admit(str(number), [("sha256:0", 0.25), ("sha256:1", 1.0), ("sha256:0", 0.25)], 1)
        table.admit(f"other {number}", [("sha256:1", 1), ("sha256:2", 0.0), ("sha256:0", 0.5)], 1)
    assert table.statistics() == {
        "slots": 4, "in_use": 1, "resident": 1, "held": 6, "steered": 20, "evictions": 0, "writes": 1, "fills": 0,
    }  # fmt: skip


def test_a_row_stays_until_its_slot_is_needed() -> None:
    table = table_of(slots=2)

    def run(digest: str) -> int:
        table.admit("a", [(digest, 1.0)], 1)
        table.release("a")
        return table.statistics()["writes"]

    assert [run(f"sha256:{number}") for number in (0, 1, 0, 1)] == [1, 2, 2, 2]
    assert run("sha256:2") == 3  # in place of 0, whose last use is longest ago
    assert table.statistics()["evictions"] == 1
    assert [run(f"sha256:{number}") for number in (1, 2, 0)] == [3, 3, 4]


def test_a_batch_full_of_different_rows() -> None:
    table = table_of(slots=6)
    compositions = {digest: ({digest: 1.0}, 1) for digest in EDITS}
    for digest in EDITS:
        table.admit(digest, [(digest, 1.0)], 1)
    step = [(digest, 2, 0) for digest in EDITS]
    fill(table, step)
    check(table, step, compositions)
    with pytest.raises(RuntimeError, match="all 6 slots"):
        table.admit("one more", [("sha256:0", 2.0)], 1)
    assert "one more" not in table.requests
    table.release("sha256:3")
    table.admit("one more", [("sha256:0", 2.0)], 1)


def test_what_nobody_needs_costs_no_copy() -> None:
    table = table_of()
    table.admit("plain", [], 3)
    table.admit("elsewhere", [("sha256:0", 0.0)], 3)
    table.hold("other blocks", [Edit(5, torch.ones(WIDTH), 1.0)])
    table.admit("other rank", [("other blocks", 1.0)], 3)
    fill(table, [("plain", 2, 0), ("elsewhere", 1, 0), ("other rank", 1, 0)])
    assert table.statistics()["fills"] == table.statistics()["writes"] == 0

    table.admit("steered", [("sha256:0", 1.0)], 3)
    fill(table, [("plain", 1, 2)])  # the steered one does not run in this step
    assert table.statistics()["fills"] == 0
    fill(table, [("steered", 3, 0), ("plain", 1, 3)])
    fill(table, [("plain", 1, 4)])  # once more, to clear it
    assert not table.index.any()
    table.release("steered")
    for computed in range(5, 9):
        fill(table, [("plain", 1, computed)])
    assert table.statistics()["fills"] == 2


def test_a_request_goes_on_when_its_steering_is_forgotten() -> None:
    table = table_of()
    table.admit("a", [("sha256:0", 1.0)], 1)
    table.forget("sha256:0")
    table.forget("sha256:0")
    table.release("a")  # preempted
    table.admit("a", [("sha256:0", 1.0)], 1)
    fill(table, [("a", 2, 0)])
    check(table, [("a", 2, 0)], {"a": ({"sha256:0": 1.0}, 1)})
    with pytest.raises(
        RuntimeError, match="does not hold the steering sha256:0; it must be sent there first"
    ):
        table.admit("b", [("sha256:0", 0.5)], 1)


def test_a_digest_stands_for_its_content() -> None:
    table = table_of()
    table.hold("sha256:0", EDITS["sha256:1"])
    table.admit("a", [("sha256:0", 1.0)], 1)
    fill(table, [("a", 1, 0)])
    check(table, [("a", 1, 0)], {"a": ({"sha256:0": 1.0}, 1)})


def test_old_gates_leave_nothing_behind() -> None:
    """Even with strength 0: `0 * inf` would be a NaN."""
    table = new_table(slots=1)
    huge = torch.full((WIDTH,), 3e38)
    table.hold("huge", [Edit(1, huge, 0.0, huge)])
    table.hold("plain", [Edit(1, torch.ones(WIDTH), 1.0)])
    table.admit("a", [("huge", 1.0)], 1)
    table.release("a")
    table.admit("b", [("plain", 1.0)], 1)
    fill(table, [("b", 1, 0)])
    assert torch.equal(read(table, 1, torch.ones(1, WIDTH)), torch.full((1, WIDTH), 2.0))
    assert not table.buffers(1).p.any()


def test_buffers_keep_their_address_and_dtype() -> None:
    table = table_of(dtype=torch.bfloat16, slots=2)
    before = {block: table.buffers(block) for block in BLOCKS}
    index = table.index.data_ptr()
    for digest in EDITS:
        table.admit("a", [(digest, 1.0)], 1)
        fill(table, [("a", 1, 0)])
    for block in BLOCKS:
        for name, tensor in vars(table.buffers(block)).items():
            assert tensor.data_ptr() == vars(before[block])[name].data_ptr()
            assert tensor.dtype == (torch.float32 if name == "strength" else torch.bfloat16)
            assert tensor.is_contiguous()
    assert before[1].added.any()
    assert table.index.data_ptr() == index
    assert table.index.dtype == torch.int32
    with pytest.raises(KeyError):
        table.buffers(7)


def test_mistakes_of_the_caller_are_loud() -> None:
    table = table_of()
    with pytest.raises(ValueError, match="edits of width 9, the table has 4"):
        table.hold("wide", [Edit(1, torch.ones(9), 1.0)])
    with pytest.raises(SteeringError, match="acts only if"):
        table.hold("conditional", [Edit(1, torch.ones(WIDTH), 1.0, when=when.Matches("x"))])
    assert not {"wide", "conditional"} & table.held
    gated = [Edit(1, torch.randn(WIDTH), 0.0, torch.randn(WIDTH)) for _ in range(3)]
    table.hold("gated", gated)
    with pytest.raises(RuntimeError, match="3 gated edits in one block, the steering table takes 2"):
        table.admit("a", [("gated", 1.0)], 1)
    table.admit("a", [("sha256:0", 1.0)], 1)
    with pytest.raises(RuntimeError, match="request 'b' runs, but was not admitted"):
        fill(table, [("a", 1, 0), ("b", 1, 0)])
    with pytest.raises(RuntimeError, match="25 tokens, the steering index has 24"):
        fill(table, [("a", 25, 0)])


def test_a_table_without_gates_takes_additions() -> None:
    table = new_table(gates=0)
    table.hold("plain", [Edit(1, torch.ones(WIDTH), 1.0)])
    table.admit("a", [("plain", 3.0)], 1)
    fill(table, [("a", 1, 0)])
    assert torch.equal(read(table, 1, torch.zeros(1, WIDTH)), torch.full((1, WIDTH), 3.0))
