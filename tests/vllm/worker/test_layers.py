"""Finding the decoder layers of a model of vLLM, and steering what they return, on trees of modules made here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.tiny import tiny_tokenizer
from torch import Tensor, nn

from trimtab.errors import ModelError
from trimtab.steering.edits import Edit
from trimtab.vllm.settings import SteeringSettings
from trimtab.vllm.worker import layers
from trimtab.vllm.worker.layers import (
    find_layers,
    install,
    stream_of,
    table_bytes,
)

WIDTH, TOKENS = 8, 6


class Pair(nn.Module):
    """Returns the stream in two parts, as most layers of vLLM do."""

    def forward(self, hidden_states: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        if residual is None:
            residual = hidden_states
        else:
            residual = hidden_states + residual
        return residual * 0.5, residual


class Stale(nn.Module):
    """Returns the whole stream, and beside it what it once was, as Cohere's layers do."""

    def forward(self, hidden_states: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        residual = hidden_states
        hidden_states = residual * 1.5
        return hidden_states, residual


class Whole(nn.Module):
    """Returns the stream as one tensor."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        return hidden_states * 1.5


class Batched(nn.Module):
    """Returns the stream with a batch of one in front, as models of transformers do."""

    def forward(self, hidden_states: Tensor) -> tuple[Tensor]:
        return (hidden_states[None] * 1.5,)


class PPMissingLayer(nn.Identity):
    """What vLLM puts where the layers of other pipeline ranks would be."""


class Model(nn.Module):
    """A model with a list of layers where vLLM's have it."""

    def __init__(self, *blocks: nn.Module) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.layers = nn.ModuleList(blocks)
        self.weight = nn.Parameter(torch.zeros(1))


def config(blocks: int) -> Any:
    model = SimpleNamespace(
        dtype=torch.float32,
        get_total_num_hidden_layers=lambda: blocks,
        get_hidden_size=lambda: WIDTH,
    )
    return SimpleNamespace(
        model_config=model,
        scheduler_config=SimpleNamespace(max_num_seqs=3, max_num_batched_tokens=TOKENS),
        device_config=SimpleNamespace(device="cpu"),
        compilation_config=SimpleNamespace(max_cudagraph_capture_size=None),
    )


@pytest.fixture
def steered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Installs steering into a model, with one request admitted whose tokens are all of a batch."""
    logger = SimpleNamespace(init_logger=lambda name: SimpleNamespace(info=lambda *words: None))
    monkeypatch.setitem(__import__("sys").modules, "vllm.logger", logger)
    monkeypatch.setitem(__import__("sys").modules, "vllm", SimpleNamespace(logger=logger))
    monkeypatch.setattr("trimtab.vllm.frontend.frontend.loaded_tokenizer", lambda config: tiny_tokenizer())

    def make(model: nn.Module, blocks: int, *edits: Edit, **settings: Any) -> Any:
        import numpy as np

        state = install(model, config(blocks), SteeringSettings(**settings))
        state.table.hold("sha256:a", edits)
        state.table.admit("request", (("sha256:a", 1.0),), TOKENS)
        state.before_step(["request"], np.array([TOKENS]), np.array([0]))
        return state

    return make


def test_the_list_at_the_shortest_path() -> None:
    model = Model(*(Whole() for _ in range(3)))
    model.model.layers[0].experts = nn.ModuleList(Whole() for _ in range(3))
    assert find_layers(model, 3)[0] == "model.layers"


def test_only_the_language_model_of_several_towers() -> None:
    class Multimodal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # A vision tower, nearer than the language model.
            self.layers = nn.ModuleList(Whole() for _ in range(3))
            self.inner = nn.Module()
            self.inner.language_model = Model(*(Whole() for _ in range(3)))

        def get_language_model(self) -> nn.Module:
            return self.inner.language_model

    model = Multimodal()
    path, found = find_layers(model, 3)
    assert path == "inner.language_model.model.layers"
    assert found is model.inner.language_model.model.layers


def test_no_list_or_two_are_refused() -> None:
    with pytest.raises(
        ModelError, match=r"no list of 4 modules .* its decoder blocks, and cannot be steered"
    ):
        find_layers(Model(Whole()), 4)
    model = Model(Whole(), Whole())
    model.model.other = nn.ModuleList([Whole(), Whole()])
    with pytest.raises(ModelError, match=r"several lists \(model.layers, model.other\) of 2 modules"):
        find_layers(model, 2)


def test_streams_of_classes() -> None:
    assert [stream_of(kind) for kind in (Pair, Stale, Whole, Batched)] == ["sum", "first", "first", "first"]
    assert stream_of(nn.ReLU) == "first"


def stream(output: Any, kind: type[nn.Module]) -> Tensor:
    """The residual stream in what a layer returned, `[tokens, d]`."""
    if kind is Pair:
        return output[0] + output[1]
    first = output[0] if isinstance(output, tuple) else output
    return first.reshape(-1, WIDTH)


@pytest.mark.parametrize("kind", [Pair, Stale, Whole, Batched])
def test_the_whole_stream_is_edited_once(kind: type[nn.Module], steered: Any) -> None:
    torch.manual_seed(0)
    gated = Edit(0, torch.randn(WIDTH), alpha=0.5, p=torch.randn(WIDTH))
    hidden, given = torch.randn(TOKENS, WIDTH), (None,) if kind in (Pair, Stale) else ()
    before = stream(kind()(hidden.clone(), *given), kind)
    model = Model(kind())
    steered(model, 1, gated)
    after = stream(model.model.layers[0](hidden.clone(), *given), kind)
    expected = before + (0.5 + before @ gated.p)[:, None] * gated.u
    torch.testing.assert_close(after, expected)
    assert not torch.equal(after, before)


def test_of_a_pair_the_residual_is_changed(steered: Any) -> None:
    # The other part is summed over ranks together with the next norm.
    model = Model(Pair())
    steered(model, 1, Edit.add(0, torch.ones(WIDTH)))
    hidden = torch.randn(TOKENS, WIDTH)
    plain, changed = Pair()(hidden.clone(), None), model.model.layers[0](hidden.clone(), None)
    assert torch.equal(changed[0], plain[0])
    torch.testing.assert_close(changed[1], plain[1] + 1)


@pytest.mark.parametrize("gates", [0, 1])
def test_where_there_is_no_room_for_gates_the_other_part_is_left_alone(
    gates: int, steered: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever reads it keeps vLLM from fusing its sum over ranks with the norm.
    seen = []
    monkeypatch.setattr(layers.operation, "steer", lambda *arguments: seen.append(arguments[1]))
    model = Model(Pair())
    steered(model, 1, gates=gates)
    first, _ = model.model.layers[0](torch.randn(TOKENS, WIDTH), None)
    assert [one is None for one in seen] == [gates == 0]
    assert gates == 0 or torch.equal(seen[0], first)


def test_blocks_of_other_ranks_keep_their_numbers(steered: Any) -> None:
    model = Model(PPMissingLayer(), Whole(), PPMissingLayer(), Whole())
    state = steered(model, 4, Edit.add(0, torch.ones(WIDTH)), Edit.add(3, torch.ones(WIDTH)))
    assert state.table.blocks == (1, 3)
    assert type(model.model.layers[0]) is PPMissingLayer
    hidden = torch.randn(TOKENS, WIDTH)
    assert torch.equal(model.model.layers[1](hidden), Whole()(hidden))
    torch.testing.assert_close(model.model.layers[3](hidden), Whole()(hidden) + 1)


def test_what_is_no_number_shows_behind_the_last_block_alone(steered: Any) -> None:
    """Even if an earlier block gave it: an edit must not hide that, and what others share stays finite until then."""
    model = Model(Whole(), Whole(), PPMissingLayer())
    steered(model, 3, Edit.add(1, torch.ones(WIDTH)))
    hidden = torch.randn(TOKENS, WIDTH)
    hidden[:, 3] = torch.nan
    for layer in model.model.layers[:2]:
        hidden = layer(hidden)
        assert bool(hidden.isfinite().all())
    model = Model(Whole(), Whole())
    steered(model, 2, Edit.add(1, torch.ones(WIDTH)))
    hidden = model.model.layers[1](hidden)
    assert bool(hidden.isnan().any(1).all())


def test_weights_and_classes_stay(steered: Any) -> None:
    model = Model(Pair(), Pair())
    names, saved = [name for name, _ in model.named_parameters()], list(model.state_dict())
    steered(model, 2)
    assert [name for name, _ in model.named_parameters()] == names
    assert list(model.state_dict()) == saved
    assert isinstance(model.model.layers[0], Pair)
    assert "trimtab" not in dict(model.named_modules())


def test_layers_that_differ_are_refused(steered: Any) -> None:
    with pytest.raises(ModelError, match="some of its decoder layers return the residual stream as a sum"):
        steered(Model(Pair(), Stale()), 2)


def test_streams_that_cannot_be_steered_are_refused(steered: Any) -> None:
    class Several(nn.Module):
        def forward(self, hidden_states: Tensor) -> Tensor:
            return hidden_states.expand(2, -1, -1).clone()

    class Kept(nn.Module):
        def forward(self, hidden_states: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
            return hidden_states, kept

    model = Model(Several())
    steered(model, 1)
    with pytest.raises(ModelError, match="Several cannot be steered: it returns a stream of 3 dimensions"):
        model.model.layers[0](torch.zeros(TOKENS, WIDTH))
    model = Model(Kept())
    steered(model, 1)
    with pytest.raises(ModelError, match="Kept cannot be steered: its source does not say"):
        model.model.layers[0](torch.zeros(TOKENS, WIDTH), torch.zeros(1))


def test_the_size_told_is_the_size_taken(steered: Any) -> None:
    model = Model(Whole(), Whole())
    state = steered(model, 2)
    buffers = [buffer for block in state.table.blocks for buffer in vars(state.table.buffers(block)).values()]
    taken = sum(buffer.numel() * buffer.element_size() for buffer in buffers)
    assert table_bytes(2, WIDTH, 4, SteeringSettings().gates, torch.float32) == taken
    assert len(state.table.index) >= TOKENS + layers.SPARE_TOKENS
