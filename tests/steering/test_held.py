"""A model that somebody holds is steered by whatever runs it, or says why it cannot be."""

from __future__ import annotations

import dataclasses
import functools
import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.tiny import (
    PROMPTS,
    WIDTH,
    inputs_of,
    random_steering,
    tiny_engine,
    tiny_tokenizer,
    tokens_of,
)
from torch import Tensor, nn

import trimtab
from trimtab.errors import ModelError, SteeringError
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering
from trimtab.steering.when import Matches

IDS = torch.tensor([[5, 6, 7, 8]])
MARK = "_trimtab_steering"


@pytest.fixture
def engine() -> Iterator[Any]:
    """An engine over a model of its own, on which nothing may be left."""
    engine = tiny_engine()
    kinds = {type(module) for module in engine.model.modules()}
    yield engine
    assert not ours(engine.model)
    assert {type(module) for module in engine.model.modules()} <= {*kinds, _Int8}


def ours(model: nn.Module) -> list[Any]:
    """What is on a model of our doing."""
    return [
        item
        for module in model.modules()
        for item in (*module._forward_hooks.values(), *module._forward_pre_hooks.values(), *vars(module))
        if item == MARK or getattr(item, "__module__", "").startswith("trimtab")
    ]


@torch.no_grad()
def logits(model: Any, **inputs: Any) -> Tensor:
    return model(**{"input_ids": IDS, "use_cache": False, **inputs}).logits


def written(model: Any, inputs: Any, **settings: Any) -> list[list[int]]:
    """The tokens of each response, without padding and the end token."""
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, **settings}
    out = model.generate(**{"input_ids": IDS} | dict(inputs), **settings)
    return [[token for token in row if token > 2] for row in out[:, inputs["input_ids"].shape[1] :].tolist()]


class TestPhases:
    """What is the prompt's and what the model wrote."""

    @pytest.mark.parametrize("scope", ["all", "prompt", "generated"])
    @pytest.mark.parametrize("cache", [None, "static"])
    def test_generate_needs_no_prompt_lengths(self, engine: Any, scope: str, cache: str | None) -> None:
        steering = random_steering(engine, 1, scope, strength=1.5)
        expected = [
            list(tokens)
            for tokens in tokens_of(engine.generate(PROMPTS, steering=steering, max_new_tokens=8))
        ]
        with steering.on(engine.model):
            for _ in range(2):  # the second text begins anew
                found = written(engine.model, inputs_of(engine, PROMPTS), cache_implementation=cache)
                assert found == expected
        assert found != written(engine.model, inputs_of(engine, PROMPTS))

    @pytest.mark.parametrize("scope", ["prompt", "generated"])
    @pytest.mark.parametrize("door", ["on", "steered"])
    def test_a_pass_that_does_not_tell_is_an_error(self, engine: Any, scope: str, door: str) -> None:
        steering = random_steering(engine, 1, scope)
        with steering.on(engine.model) if door == "on" else engine.steered(steering):
            for inputs in ({"use_cache": False}, {"use_cache": None}):
                with pytest.raises(
                    SteeringError, match=r"this forward pass has no cache.*give prompt_lengths="
                ):
                    logits(engine.model, **inputs)
            with pytest.raises(SteeringError, match="no cache"):
                engine.model.generate(IDS, use_cache=False, max_new_tokens=2, pad_token_id=0)
            cache = engine.model(IDS, use_cache=True).past_key_values
            with pytest.raises(SteeringError, match="adds 4 tokens to a cache of 4"):
                logits(engine.model, past_key_values=cache, use_cache=True)

    def test_a_cache_filled_outside_does_not_tell(self, engine: Any) -> None:
        steering = random_steering(engine, 1, "generated")
        cache = engine.model(IDS, use_cache=True).past_key_values
        with (
            steering.on(engine.model),
            pytest.raises(SteeringError, match="holds 4 tokens that were not seen"),
        ):
            logits(engine.model, input_ids=IDS[:, :1], past_key_values=cache, use_cache=True)

    @torch.no_grad()
    def test_a_loop_of_ones_own_is_known_by_its_cache(self, engine: Any) -> None:
        steering = random_steering(engine, 2, "generated", strength=1.5)
        expected = engine.generate(PROMPTS[:1], steering=steering, max_new_tokens=6)[0].token_ids
        ids, cache, found = inputs_of(engine, PROMPTS[:1])["input_ids"], None, []
        with steering.on(engine.model):
            for _ in range(6):
                out = engine.model(ids, past_key_values=cache, use_cache=True)
                ids, cache = out.logits[:, -1:].argmax(-1), out.past_key_values
                found.append(int(ids))
        assert found == list(expected)

    @pytest.mark.parametrize("form", ["list", "tensor", "mask", "inputs"])
    def test_prompt_lengths_are_told_in_any_form(self, engine: Any, form: str) -> None:
        inputs = inputs_of(engine, PROMPTS)
        steering = random_steering(engine, 1, "generated") + random_steering(engine, 2, "prompt")
        mask = inputs["attention_mask"]
        lengths: Any = {
            "list": mask.sum(1).tolist(),
            "tensor": mask.sum(1),
            "mask": mask.bool(),
            "inputs": inputs,
        }[form]
        answer = torch.full((3, 4), 65)
        ids, seen = torch.cat([inputs["input_ids"], answer], 1), torch.cat([mask, torch.ones_like(answer)], 1)
        found = []
        for form_of_them in (lengths, mask.sum(1).tolist()):
            with steering.on(engine.model, prompt_lengths=form_of_them):
                found.append(logits(engine.model, input_ids=ids, attention_mask=seen))
        assert torch.equal(*found)
        with steering.on(engine.model, prompt_lengths=3):
            assert not torch.equal(logits(engine.model, input_ids=ids, attention_mask=seen), found[0])

    @pytest.mark.parametrize(
        "lengths", [-1, [1.5], [], ["a"], [[0.5]], {}, {"input_ids": [[1, 2], [3]]}, None]
    )
    def test_prompt_lengths_that_are_none(self, engine: Any, lengths: Any) -> None:
        steering = random_steering(engine)
        if lengths is None:
            assert steering.on(engine.model, prompt_lengths=lengths)
            return
        with pytest.raises(SteeringError, match="prompt_lengths are numbers of tokens"):
            steering.on(engine.model, prompt_lengths=lengths)

    def test_lengths_of_another_number_of_prompts(self, engine: Any) -> None:
        inputs = inputs_of(engine, PROMPTS)
        with (
            random_steering(engine, 1, "generated").on(engine.model, prompt_lengths=[2, 3]),
            pytest.raises(ModelError, match="3 rows was run with prompt lengths for 2"),
        ):
            logits(engine.model, **inputs)


class TestRows:
    def test_one_steering_for_each_row(self, engine: Any) -> None:
        rows = [
            random_steering(engine, 1, strength=1.5),
            None,
            random_steering(engine, 2, "generated", strength=1.5),
        ]
        expected = [
            list(tokens) for tokens in tokens_of(engine.generate(PROMPTS, steering=rows, max_new_tokens=8))
        ]
        with trimtab.on(engine.model, rows):
            assert written(engine.model, inputs_of(engine, PROMPTS)) == expected

    def test_beams_and_samples_keep_their_row(self, engine: Any) -> None:
        rows = [
            random_steering(engine, 1, strength=1.5),
            None,
            random_steering(engine, 2, "generated", strength=1.5),
        ]
        settings = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 6}
        expected = [list(tokens) for tokens in tokens_of(engine.generate(PROMPTS, steering=rows, **settings))]
        with trimtab.on(engine.model, rows):
            assert written(engine.model, inputs_of(engine, PROMPTS), **settings) == expected

    def test_another_number_of_rows_is_refused(self, engine: Any) -> None:
        rows = [random_steering(engine, 1), random_steering(engine, 2)]
        with (
            trimtab.on(engine.model, rows),
            pytest.raises(ModelError, match="1 rows was run with steerings for 2"),
        ):
            logits(engine.model)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ([], "no steerings"),
            (["json"], "not str"),
            ("json", r"read it: trimtab\.Steering\.load\('json'\)"),
        ],
    )
    def test_what_is_no_steering_is_refused(self, engine: Any, given: Any, message: str) -> None:
        with pytest.raises(SteeringError, match=message):
            trimtab.on(engine.model, given)


class TestNesting:
    """Contexts add up: nesting is the union."""

    @given(data=st.data(), counts=st.lists(st.sampled_from([1, 2, 4]), min_size=2, max_size=3))
    def test_nesting_is_the_union(self, tiny_llama: Any, data: Any, counts: list[int]) -> None:
        engine, ids = tiny_llama, IDS.expand(4, -1)
        scopes = st.sampled_from(["all", "prompt", "generated"])
        contexts: list[list[Steering]] = [
            [
                random_steering(engine, data.draw(st.integers(0, 9)), data.draw(scopes), strength=0.3)
                for _ in range(count)
            ]
            for count in counts
        ]
        most = max(counts)  # as many rows, so that the sums are the same to the last bit
        united = [
            functools.reduce(operator.add, [rows[row * len(rows) // most] for rows in contexts])
            for row in range(most)
        ]
        with trimtab.on(engine.model, united, prompt_lengths=2):
            expected = logits(engine.model, input_ids=ids)
        entered = [trimtab.on(engine.model, rows, prompt_lengths=2) for rows in contexts]
        left = data.draw(st.permutations(entered))
        for context in entered:
            context.__enter__()
        try:
            assert torch.equal(logits(engine.model, input_ids=ids), expected)
        finally:
            for context in left:
                context.__exit__(None, None, None)
        assert not ours(engine.model)

    def test_the_order_does_not_matter(self, engine: Any) -> None:
        one, other = random_steering(engine, 1), random_steering(engine, 2)
        with one.on(engine.model), other.on(engine.model):
            found = logits(engine.model)
        with other.on(engine.model), one.on(engine.model):
            torch.testing.assert_close(logits(engine.model), found, rtol=1e-4, atol=1e-4)
        with one.on(engine.model) as twice, twice, twice:
            tripled = logits(engine.model)
        with (one + one + one).on(engine.model):
            assert torch.equal(logits(engine.model), tripled)

    def test_leaving_the_inner_one_leaves_the_outer(self, engine: Any) -> None:
        one, other = random_steering(engine, 1), random_steering(engine, 2)
        with one.on(engine.model):
            outer = logits(engine.model)
            with pytest.raises(KeyError), other.on(engine.model):
                raise KeyError
            assert torch.equal(logits(engine.model), outer)

    def test_an_engine_adds_to_what_is_entered(self, engine: Any) -> None:
        one, other = random_steering(engine, 1, "generated"), random_steering(engine, 2)
        expected = engine.generate(PROMPTS, steering=one + other, max_new_tokens=20)
        scores = engine.score(PROMPTS, ["a", "bc", "d"], steering=one)
        with one.on(engine.model):
            assert engine.generate(PROMPTS, steering=other, max_new_tokens=20) == expected
            assert engine.score(PROMPTS, ["a", "bc", "d"]) == pytest.approx(scores)

    def test_lengths_are_those_of_the_innermost_that_gives_any(self, engine: Any) -> None:
        late = random_steering(engine, 1, "generated")
        with late.on(engine.model, prompt_lengths=2):
            expected = logits(engine.model)
        with late.on(engine.model, prompt_lengths=4), trimtab.on(engine.model, None, prompt_lengths=2):
            assert torch.equal(logits(engine.model), expected)


class TestCompiled:
    """Code compiled earlier knows nothing of hooks, and code compiled under them must forget them."""

    WAYS: ClassVar[dict[str, Callable[[Any], Any]]] = {
        "torch.compile(model)": lambda model: torch.compile(model, backend="eager"),
        "its forward": lambda model: torch.compile(model.forward, backend="eager"),
        "in place": lambda model: model.compile(backend="eager") or model,
        "its blocks": lambda model: (
            [block.compile(backend="eager") for block in model.model.layers] and model
        ),
    }

    @pytest.fixture(autouse=True)
    def forget(self) -> Iterator[None]:
        torch.compiler.reset()
        yield
        torch.compiler.reset()

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("before", [True, False])
    def test_a_compiled_model_is_steered_in_the_context_and_only_there(
        self, engine: Any, way: str, before: bool
    ) -> None:
        plain = logits(engine.model)
        one, other = (
            random_steering(engine, 1),
            Steering("first block", (Edit.add(0, torch.ones(WIDTH)),), Record(engine.identity)),
        )
        expected = []
        for steering in (one, other):
            with steering.on(engine.model):
                expected.append(logits(engine.model))
        compiled = self.WAYS[way](engine.model)
        if before:
            torch.testing.assert_close(logits(compiled), plain, rtol=1e-4, atol=1e-4)
        for steering, wanted in zip((one, other, one), (*expected, expected[0]), strict=True):
            with steering.on(engine.model):
                torch.testing.assert_close(logits(compiled), wanted, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(logits(compiled), plain, rtol=1e-4, atol=1e-4)

    def test_what_is_compiled_may_be_given(self, engine: Any) -> None:
        compiled: Any = torch.compile(engine.model, backend="eager")
        logits(compiled)
        steering = random_steering(engine, 1, "generated", strength=1.5)
        with steering.on(engine.model):
            expected = written(engine.model, inputs_of(engine, PROMPTS))
        with steering.on(compiled):
            assert written(compiled, inputs_of(engine, PROMPTS)) == expected

    @pytest.mark.skipif(
        not hasattr(torch.compiler, "skip_all_guards_unsafe"), reason="this torch compiles with all guards"
    )
    def test_code_that_skips_its_guards_is_noticed(self, engine: Any) -> None:
        skip = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}
        compiled: Any = torch.compile(engine.model, backend="eager", options=skip)
        logits(compiled)
        with (
            random_steering(engine).on(compiled),
            pytest.raises(ModelError, match="not through the hooks of block 1, 2"),
        ):
            logits(compiled)


class TestNotThroughTheHooks:
    """A block that is run past its hooks is an error, never an unsteered answer."""

    def test_blocks_called_by_forward(self, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        steering = random_steering(engine, 1)
        blocks = engine.decoder_blocks.blocks
        for block in blocks[:2]:
            monkeypatch.setattr(
                type(block), "__call__", lambda self, *args, **kwargs: self.forward(*args, **kwargs)
            )
        with steering.on(engine.model):
            for call in (
                lambda: logits(engine.model),
                lambda: written(engine.model, inputs_of(engine, PROMPTS)),
            ):
                with pytest.raises(ModelError, match="ran, but not through the hooks of block 1, 2"):
                    call()
        with pytest.raises(ModelError, match="not through the hooks"):
            engine.generate(PROMPTS, steering=steering, max_new_tokens=2)

    def test_a_decoder_and_its_blocks_called_by_forward(
        self, engine: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steering = random_steering(engine, 1)
        for module in (engine.decoder_blocks.blocks[0], engine.decoder_blocks.decoder):
            monkeypatch.setattr(
                type(module), "__call__", lambda self, *args, **kwargs: self.forward(*args, **kwargs)
            )
        with steering.on(engine.model), pytest.raises(ModelError, match="not through the hooks"):
            logits(engine.model)

    def test_a_context_in_which_nothing_runs_is_none(self, engine: Any) -> None:
        with random_steering(engine).on(engine.model):
            pass


class TestOtherHands:
    """What people run a model with."""

    def test_a_pipeline(self, engine: Any) -> None:
        from transformers import pipeline

        steering = random_steering(engine, 1, "generated", strength=1.5)
        pipe = pipeline("text-generation", model=engine.model, tokenizer=engine.tokenizer, device="cpu")
        chat = [{"role": "user", "content": PROMPTS[0]}]
        settings = {"max_new_tokens": 8, "do_sample": False, "return_full_text": False, "max_length": None}
        with steering.on(pipe.model, tokenizer=pipe.tokenizer):
            [found] = pipe(chat, **settings)
        assert (
            found["generated_text"]
            == engine.generate([PROMPTS[0]], steering=steering, max_new_tokens=8)[0].text
        )
        with pytest.raises(ModelError, match=r"a pipeline has its model in \.model"):
            steering.on(pipe)

    def test_a_streamer_in_a_thread(self, engine: Any) -> None:
        from transformers import TextIteratorStreamer

        steering = random_steering(engine, 1, "generated", strength=1.5)
        streamer = TextIteratorStreamer(engine.tokenizer, skip_prompt=True, skip_special_tokens=True)
        inputs = inputs_of(engine, PROMPTS[:1])
        settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "streamer": streamer}
        with steering.on(engine.model):
            thread = threading.Thread(target=engine.model.generate, kwargs={**inputs, **settings})
            thread.start()
            text = "".join(streamer)
            thread.join()
        assert text == engine.generate(PROMPTS[:1], steering=steering, max_new_tokens=8)[0].text

    def test_quantised_weights(self, engine: Any) -> None:
        """Only block outputs are touched, whatever the weights are stored in."""
        quantise(engine.model)
        steering = random_steering(engine, 1, "generated", strength=1.5)
        expected = [
            list(tokens)
            for tokens in tokens_of(engine.generate(PROMPTS, steering=steering, max_new_tokens=8))
        ]
        with steering.on(engine.model):
            assert written(engine.model, inputs_of(engine, PROMPTS)) == expected
        assert written(engine.model, inputs_of(engine, PROMPTS)) != expected

    def test_blocks_whose_forward_was_replaced_to_move_weights(self, engine: Any) -> None:
        """As accelerate does for a device map: a forward of the instance, called from `__call__`."""
        steering = random_steering(engine, 1)
        with steering.on(engine.model):
            expected = logits(engine.model)
        for block in engine.decoder_blocks.blocks:
            block.forward = moving(block, block.forward)
        with steering.on(engine.model):
            assert torch.equal(logits(engine.model), expected)
        for block in engine.decoder_blocks.blocks:
            assert "forward" in vars(block)
            del block.forward

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, engine: Any, dtype: torch.dtype) -> None:
        steering = random_steering(engine, 1)
        with steering.on(engine.model):
            expected = logits(engine.model)
        half = tiny_engine().model.to(dtype)
        with steering.on(half):
            found = logits(half)
        assert found.dtype == dtype
        assert nn.functional.cosine_similarity(found.flatten().float(), expected.flatten(), 0) > 0.99


class TestTraining:
    """Gradients pass through the edits; blocks computed again are steered again."""

    def step(
        self, model: Any, steering: Steering, checkpointing: bool | None, **options: Any
    ) -> dict[str, Tensor]:
        model.train()
        model.zero_grad()
        if checkpointing is not None:
            model.gradient_checkpointing_enable({"use_reentrant": checkpointing})
        with steering.on(model, **options):
            ids = torch.tensor([[5, 6, 7, 8], [9, 8, 7, 6]])
            model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        model.gradient_checkpointing_disable()
        return {
            name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None
        }

    @pytest.mark.parametrize("scope", ["all", "generated"])
    @pytest.mark.parametrize("reentrant", [True, False])
    def test_with_gradient_checkpointing(self, engine: Any, scope: str, reentrant: bool) -> None:
        steering = random_steering(engine, 1, scope)
        expected = self.step(engine.model, steering, None, prompt_lengths=2)
        found = self.step(engine.model, steering, reentrant, prompt_lengths=2)
        plain = self.step(engine.model, steering * 0, None)
        assert found.keys() == expected.keys()
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-3, atol=1e-6)
        assert any(not torch.allclose(plain[name], expected[name], rtol=1e-2) for name in plain)

    def test_a_block_computed_again_for_an_earlier_pass_is_noticed(self, engine: Any) -> None:
        model = engine.model.train()
        model.gradient_checkpointing_enable({"use_reentrant": False})
        with random_steering(engine, 1, "generated").on(model, prompt_lengths=2):
            first = model(input_ids=IDS, labels=IDS, use_cache=False).loss
            model(input_ids=IDS, labels=IDS, use_cache=False)
            with pytest.raises(ModelError, match=r"call backward\(\) after each forward pass"):
                first.backward()
        model.gradient_checkpointing_disable()

    def test_it_may_have_been_read_before(self, engine: Any) -> None:
        with random_steering(engine, 1).on(engine.model):
            with torch.inference_mode():
                engine.model(IDS.expand(2, -1))
            engine.model(IDS, labels=IDS, use_cache=False).loss.backward()


class TestWhichModel:
    """All that can be known of a model that is held is compared."""

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"architecture": "qwen2"}, "the architectures differ.*allow_other_model=True"),
            ({"blocks": 4}, "the shapes differ; learn it on this model$"),
        ],
    )
    def test_a_steering_of_another_model_is_refused(self, engine: Any, changes: Any, reason: str) -> None:
        steering = random_steering(engine)
        other = dataclasses.replace(engine.identity, **changes)
        foreign = dataclasses.replace(steering, record=Record(other))
        with pytest.raises(SteeringError, match=rf"'random' is for .*, not for this model, llama .*{reason}"):
            foreign.on(engine.model)
        with pytest.raises(SteeringError, match=reason):
            trimtab.on(engine.model, [None, foreign])

    def test_it_is_told_as_by_an_engine(self, engine: Any) -> None:
        told = trimtab.ModelIdentity.of(engine.model, engine.tokenizer)
        assert dataclasses.replace(told, id=engine.identity.id) == engine.identity
        assert told.weights == engine.identity.weights

    def test_the_weights_are_compared_and_the_name_is_not(self, engine: Any) -> None:
        steering = random_steering(engine)
        engine.model.config._name_or_path = "somewhere/else"
        steering.on(engine.model)
        engine.model.model.layers[0].mlp.up_proj.weight.data *= 1.1
        with pytest.raises(SteeringError, match=r"the weights differ.*allow_other_model=True"):
            steering.on(engine.model)
        with steering.on(engine.model, allow_other_model=True):
            logits(engine.model)

    def test_a_model_that_is_being_trained_stays_the_same(self, engine: Any) -> None:
        """In a loop of one's own the weights are others after every step."""
        other = dataclasses.replace(engine.identity, weights="bfloat16:" + "0" * 64)
        steering = Steering("x", (), Record(other))
        with pytest.raises(SteeringError, match="the weights differ"):
            steering.on(engine.model)
        engine.model.train()
        try:
            steering.on(engine.model)
        finally:
            engine.model.eval()

    def test_the_template_is_compared_where_there_is_a_tokenizer(self, engine: Any) -> None:
        steering = random_steering(engine)
        other = tiny_tokenizer("{{ messages }}")
        steering.on(engine.model, tokenizer=engine.tokenizer)
        with pytest.raises(SteeringError, match="the chat templates differ"):
            steering.on(engine.model, tokenizer=other)
        with steering.on(engine.model, tokenizer=other, allow_other_model=True):
            logits(engine.model)

    @pytest.mark.parametrize("model", ["gpt2", nn.Linear(2, 2), None])
    def test_what_is_no_model_is_refused(self, engine: Any, model: Any) -> None:
        with pytest.raises(ModelError, match="a causal language model of transformers, not on"):
            random_steering(engine).on(model)

    def test_a_steering_for_some_prompts_says_what_to_do(self, engine: Any) -> None:
        steering = random_steering(engine).when(Matches("rocket"))
        with pytest.raises(
            SteeringError, match=r"acts only if .*steering\.always\(\).*steered\(steering, prompts="
        ):
            steering.on(engine.model)
        with steering.always().on(engine.model):
            logits(engine.model)


class _Int8(nn.Module):
    """A linear map whose weights are whole numbers and a scale for each row, as quantised models have them."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        scale = linear.weight.detach().abs().amax(1, keepdim=True) / 127
        self.register_buffer("weight", (linear.weight.detach() / scale).round().to(torch.int8))
        self.register_buffer("scale", scale)

    def forward(self, hidden: Tensor) -> Tensor:
        return hidden @ (self.weight * self.scale).T  # type: ignore[operator]


def quantise(model: nn.Module) -> None:
    """Replaces the linear maps of all blocks, and says so as transformers does."""
    model.hf_quantizer = SimpleNamespace(is_compileable=False)
    for name, module in list(model.model.layers.named_modules()):  # type: ignore[union-attr, operator]
        if isinstance(module, nn.Linear):
            model.model.layers.set_submodule(name, _Int8(module))  # type: ignore[union-attr, operator]


def moving(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def moved(*args: Any, **kwargs: Any) -> Any:
        weights: Sequence[Tensor] = list(block.parameters())
        assert weights
        return forward(*args, **kwargs)

    return moved
