"""The transformers engine beyond the laws: what it reads, writes and scores, and what it refuses."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest
import torch
from tests.tiny import (
    PROMPTS,
    VOCABULARY,
    WIDTH,
    hooks_of,
    inputs_of,
    logits_of,
    random_steering,
    tiny_engine,
    tiny_model,
    tiny_tokenizer,
    tokens_of,
)

from trimtab.engines.base import Engine
from trimtab.engines.chat import format_prompt, prompt_ids
from trimtab.engines.transformers import TransformersEngine
from trimtab.errors import ModelError, PromptError, SteeringError
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering
from trimtab.steering.templates import PLAIN, template_digest


def _hidden_states(engine: Engine, prompt: Any) -> tuple[torch.Tensor, ...]:
    """What the model itself calls its hidden states: `[tokens, d]` before the first and after every block."""
    with torch.no_grad():
        out = engine.model(**inputs_of(engine, [prompt]), output_hidden_states=True)  # type: ignore[attr-defined]
    return tuple(state[0] for state in out.hidden_states)


class TestIdentity:
    def test_it_names_the_model(self, tiny_llama: Any) -> None:
        identity = tiny_llama.identity
        assert (identity.id, identity.architecture) == ("tiny-llama", "llama")
        assert (identity.blocks, identity.width) == (3, WIDTH)
        assert identity.chat_template == template_digest(tiny_llama.tokenizer)

    def test_a_model_without_a_template_is_plain(self) -> None:
        assert tiny_engine(template=None).identity.chat_template == PLAIN

    def test_an_encoder_decoder_is_refused(self) -> None:
        from transformers import T5Config, T5ForConditionalGeneration

        model = T5ForConditionalGeneration(
            T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
        )
        with pytest.raises(ModelError, match="no causal language model"):
            TransformersEngine(model, tiny_tokenizer())

    def test_a_model_without_a_head_is_refused(self) -> None:
        with pytest.raises(ModelError, match="no causal language model"):
            TransformersEngine(tiny_model("llama").model, tiny_tokenizer())


class TestCapture:
    def test_the_last_token_not_the_last_feature(self, tiny_llama: Any) -> None:
        captured = tiny_llama.capture(PROMPTS, keep=True)
        assert captured.activations.shape == (3, 3, WIDTH)
        assert captured.activations.dtype == captured.mean.dtype == torch.float32
        for row, prompt in enumerate(PROMPTS):
            states = _hidden_states(tiny_llama, prompt)
            for block in (0, 1):
                torch.testing.assert_close(
                    captured.activations[row, block], states[block + 1][-1], rtol=1e-4, atol=1e-4
                )
        torch.testing.assert_close(captured.mean, captured.activations.mean(0))
        assert captured.count == 3

    def test_the_last_block_is_read_before_the_final_norm(self, tiny_llama: Any) -> None:
        captured = tiny_llama.capture([PROMPTS[0]], blocks=[-1], keep=True)
        assert captured.blocks == (2,)
        last = captured.activations[0, 0]
        normed = _hidden_states(tiny_llama, PROMPTS[0])[-1][-1]
        assert not torch.allclose(last, normed, rtol=0.1, atol=0.1)
        with torch.no_grad():
            torch.testing.assert_close(tiny_llama.model.model.norm(last), normed, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("batch_size", [1, 2, None])
    def test_positions(self, tiny_llama: Any, batch_size: int | None) -> None:
        states = [_hidden_states(tiny_llama, prompt)[2] for prompt in PROMPTS]

        def capture(positions: Any) -> Any:
            return tiny_llama.capture(
                PROMPTS, blocks=[1], positions=positions, keep=True, batch_size=batch_size
            )

        everything = capture("all")
        assert everything.count == sum(len(state) for state in states)
        torch.testing.assert_close(everything.activations[:, 0], torch.cat(states), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(everything.mean[0], torch.cat(states).mean(0), rtol=1e-4, atol=1e-4)
        means = torch.stack([state.mean(0) for state in states])
        torch.testing.assert_close(capture("mean").activations[:, 0], means, rtol=1e-4, atol=1e-4)
        for number in (0, 2, -1, -3):
            expected = torch.stack([state[number] for state in states])
            torch.testing.assert_close(capture(number).activations[:, 0], expected, rtol=1e-4, atol=1e-4)

    def test_second_moments_along_directions(self, tiny_llama: Any) -> None:
        directions = torch.randn(3, WIDTH)
        captured = tiny_llama.capture(PROMPTS, directions=directions, keep=True, batch_size=2)
        projections = torch.einsum("nbd,bd->nb", captured.activations, directions)
        torch.testing.assert_close(captured.second_moment[:, 0], projections.square().mean(0))

    def test_raw_activations_only_on_request(self, tiny_llama: Any) -> None:
        captured = tiny_llama.capture(PROMPTS)
        assert captured.activations is None
        assert captured.second_moment is None

    def test_progress_is_reported(self, tiny_llama: Any) -> None:
        seen: list[Any] = []
        tiny_llama.capture(PROMPTS, batch_size=2, progress=lambda *told: seen.append(told))
        assert seen == [("reading", 0, 3), ("reading", 2, 3), ("reading", 3, 3)]

    def test_progress_of_writing_is_told_at_every_token(self, tiny_llama: Any) -> None:
        seen: list[Any] = []
        found = tiny_llama.generate(PROMPTS, max_new_tokens=5, progress=lambda *told: seen.append(told))
        written = sum(len(one.token_ids) for one in found)
        assert seen[0] == ("writing", 0, 3, "")
        assert seen[-1] == ("writing", 3, 3, f"{written} tokens")
        assert len(seen) > 5
        assert [told[1] for told in seen] == sorted(told[1] for told in seen)

        class StoppedError(Exception):
            pass

        def stop(*told: Any) -> None:
            if told[-1]:
                raise StoppedError

        with pytest.raises(StoppedError):
            tiny_llama.generate(PROMPTS, max_new_tokens=5, progress=stop)

    @pytest.mark.parametrize(
        ("arguments", "error", "words"),
        [
            ({"blocks": [3]}, ModelError, "no block 3: tiny-llama has blocks 0 to 2"),
            ({"blocks": [-4]}, ModelError, "no block -4"),
            ({"blocks": []}, ModelError, "no blocks to read"),
            ({"positions": 40}, PromptError, "it has no token 40"),
            ({"positions": "first"}, PromptError, "'first'"),
            ({"positions": True}, PromptError, "True"),
            ({"directions": torch.ones(2, WIDTH)}, ModelError, "directions"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, tiny_llama: Any, arguments: dict[str, Any], error: type[Exception], words: str
    ) -> None:
        with pytest.raises(error, match=words):
            tiny_llama.capture(PROMPTS[:2], **arguments)


class TestPrompts:
    def test_a_chat_goes_through_the_template_and_is_steered(self, tiny_llama: Any) -> None:
        chat = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "yes?"},
            {"role": "user", "content": "name a rocket"},
        ]
        [same] = tiny_llama.generate([[{"role": "user", "content": "hi"}]], max_new_tokens=8)
        assert same == tiny_llama.generate(["hi"], max_new_tokens=8)[0]
        plain = tiny_llama.generate([chat], max_new_tokens=8)
        steered = tiny_llama.generate([chat], steering=random_steering(tiny_llama), max_new_tokens=8)
        assert tokens_of(plain) != tokens_of(steered)

    def test_the_template_is_not_tokenised_twice(self, tiny_llama: Any) -> None:
        text = format_prompt(tiny_llama.tokenizer, "hi")
        count = tiny_llama.capture(["hi"], positions="all").count
        assert count == len(tiny_llama.tokenizer(text, add_special_tokens=False)["input_ids"])

    @pytest.mark.parametrize("prompts", ["hi", [{"role": "user", "content": "hi"}]])
    def test_a_single_prompt_is_pointed_out(self, tiny_llama: Any, prompts: Any) -> None:
        with pytest.raises(PromptError, match="into a list"):
            tiny_llama.generate(prompts)

    def test_no_prompt_is_refused(self, tiny_llama: Any) -> None:
        with pytest.raises(PromptError, match="no prompts"):
            tiny_llama.generate([])

    def test_a_prompt_that_does_not_fit_the_context_is_refused(self, tiny_llama: Any) -> None:
        with pytest.raises(
            PromptError,
            match=r"prompt 2 of 2 has \d+ tokens; with 8 new tokens that is \d+, .* is 128; shorten the prompt or",
        ):
            tiny_llama.generate(["hi", "x" * 110], max_new_tokens=8)
        with pytest.raises(PromptError, match=r"the prompt has \d+ tokens, but .* is 128; shorten it"):
            tiny_llama.capture(["x" * 130])
        with pytest.raises(PromptError, match="with its response"):
            tiny_llama.score(["hi"], ["x" * 120])


class TestGenerate:
    def test_it_is_what_the_model_itself_generates(self, tiny_llama: Any) -> None:
        for prompt, ours in zip(PROMPTS, tiny_llama.generate(PROMPTS, max_new_tokens=40), strict=True):
            inputs = inputs_of(tiny_llama, [prompt])
            inputs.pop("position_ids")
            ends = [2, 3]  # of the model, and of its template
            theirs = tiny_llama.model.generate(
                **inputs, max_new_tokens=40, do_sample=False, eos_token_id=ends
            )
            new = theirs[0, inputs["input_ids"].shape[1] :].tolist()
            assert ours.finished == (new[-1] in ends)
            assert list(ours.token_ids) == (new[:-1] if ours.finished else new)
            assert ours.text == tiny_llama.tokenizer.decode(list(ours.token_ids), skip_special_tokens=True)

    def test_rows_that_end_leave_the_batch_and_the_others_go_on(self, tiny_llama: Any) -> None:
        """An edit that makes the end token certain ends some rows at once, while the others run on."""
        end = tiny_llama.model.lm_head.weight[2].detach()
        stop = Steering(
            "stop", (Edit.add(2, end / end.norm(), 1e4, "generated"),), Record(tiny_llama.identity)
        )
        prompts = [*PROMPTS, *PROMPTS]
        rows = [stop, None, stop, None, random_steering(tiny_llama, 1), stop]
        sizes: list[int] = []
        handle = tiny_llama.decoder_blocks.blocks[0].register_forward_pre_hook(
            lambda module, args: sizes.append(len(args[0]))
        )
        try:
            batch = tiny_llama.generate(prompts, steering=rows, max_new_tokens=40)
        finally:
            handle.remove()
        alone = [
            tiny_llama.generate([prompt], steering=row, max_new_tokens=40)[0]
            for prompt, row in zip(prompts, rows, strict=True)
        ]
        assert tokens_of(batch) == tokens_of(alone)
        assert [one.finished for one in batch] == [one.finished for one in alone]
        assert [len(batch[row].token_ids) for row in (0, 2, 5)] == [1, 1, 1]
        assert sizes[sizes.index(6) + 1] == 3

    @pytest.mark.parametrize("limit", [1, 15, 16, 17, 33])
    def test_the_limit_is_kept(self, tiny_llama: Any, limit: int) -> None:
        generations = tiny_llama.generate(PROMPTS, max_new_tokens=limit)
        whole = tiny_llama.generate(PROMPTS, max_new_tokens=40)
        assert tokens_of(generations) == [one.token_ids[:limit] for one in whole]

    def test_the_models_own_defaults_are_overruled_without_a_warning(self, caplog: Any) -> None:
        engine = tiny_engine()
        expected = tokens_of(engine.generate(PROMPTS, max_new_tokens=8))
        own = engine.model.generation_config
        own.do_sample, own.temperature, own.top_p, own.pad_token_id = True, 0.6, 0.9, None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert tokens_of(engine.generate(PROMPTS, max_new_tokens=8)) == expected
            engine.generate(PROMPTS, max_new_tokens=4, num_beams=2)
            engine.generate(PROMPTS, max_new_tokens=4, do_sample=True, seed=1)
        assert not [record for record in caplog.records if record.levelname == "WARNING"]
        assert (own.do_sample, own.temperature) == (True, 0.6)

    def test_a_tokenizer_without_a_pad_token_will_do(self) -> None:
        tokenizer = tiny_tokenizer()
        tokenizer.pad_token = None
        model = tiny_model("llama")
        model.generation_config.pad_token_id = None
        engine = TransformersEngine(model, tokenizer, model_id="tiny-llama")
        expected = tokens_of(tiny_engine().generate(PROMPTS, max_new_tokens=8))
        assert tokens_of(engine.generate(PROMPTS, max_new_tokens=8)) == expected

    @pytest.mark.parametrize("pad", [-1, VOCABULARY])
    def test_a_pad_token_without_an_embedding_is_not_used(self, pad: int) -> None:
        tokenizer = tiny_tokenizer()
        tokenizer.pad_token = None
        model = tiny_model("llama")
        model.generation_config.pad_token_id = pad
        engine = TransformersEngine(model, tokenizer, model_id="tiny-llama")
        expected = tokens_of(tiny_engine().generate(PROMPTS, max_new_tokens=4))
        assert tokens_of(engine.generate(PROMPTS, max_new_tokens=4)) == expected

    @pytest.mark.parametrize("name", ["cache_implementation", "stop_strings"])
    def test_settings_of_a_model_that_do_not_go_with_hooks_and_stretches_are_overruled(
        self, name: str
    ) -> None:
        engine = tiny_engine()
        row = random_steering(engine, 1)
        expected = tokens_of(engine.generate(PROMPTS, steering=row, max_new_tokens=20))
        own = {"cache_implementation": "static", "stop_strings": ["a"]}[name]
        setattr(engine.model.generation_config, name, own)
        generations = engine.generate(PROMPTS, steering=row, max_new_tokens=20)
        assert tokens_of(generations) == expected
        assert "".join(engine.stream(PROMPTS[0], steering=row, max_new_tokens=20)) == generations[0].text

    @pytest.mark.parametrize("own", [{"min_new_tokens": 20}, {"forced_eos_token_id": 2}])
    def test_settings_that_count_from_the_start_are_kept(self, own: dict[str, int]) -> None:
        """A response is written in stretches; the model's own settings must not begin anew with each."""
        engine = tiny_engine()
        engine.model.generation_config.update(**own)
        batch = engine.generate(PROMPTS, max_new_tokens=24)
        alone = [engine.generate([prompt], max_new_tokens=24)[0] for prompt in PROMPTS]
        assert tokens_of(batch) == tokens_of(alone)
        assert max(len(one.token_ids) for one in batch) >= 20
        assert "".join(engine.stream(PROMPTS[0], max_new_tokens=24)) == batch[0].text

    def test_the_number_of_steerings_must_be_that_of_the_prompts(self, tiny_llama: Any) -> None:
        with pytest.raises(SteeringError, match="2 steerings for 3 prompts"):
            tiny_llama.generate(PROMPTS, steering=[None, None], max_new_tokens=4)
        with pytest.raises(SteeringError, match="Steering or None, not Edit"):
            tiny_llama.generate(PROMPTS[:1], steering=[Edit.add(0, torch.ones(WIDTH))], max_new_tokens=4)

    def test_a_response_longer_than_the_sliding_window(self) -> None:
        """Windows of 12 tokens in some blocks, texts of more: cached and alone must still agree."""
        for architecture in ("gemma2", "gemma3", "mistral"):
            engine = tiny_engine(architecture)
            rows = [random_steering(engine, 1, "generated"), None, random_steering(engine, 2, "prompt")]
            batch = tokens_of(engine.generate(PROMPTS, steering=rows, max_new_tokens=40))
            alone = [
                engine.generate([prompt], steering=row, max_new_tokens=40, use_cache=False)[0].token_ids
                for prompt, row in zip(PROMPTS, rows, strict=True)
            ]
            assert batch == alone

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision(self, dtype: torch.dtype) -> None:
        engine = TransformersEngine(tiny_model("llama").to(dtype), tiny_tokenizer())
        steering = random_steering(engine)
        plain, steered = logits_of(engine, PROMPTS), logits_of(engine, PROMPTS, steering)
        assert steered.dtype == dtype
        assert torch.isfinite(steered).all()
        assert not torch.allclose(plain, steered, rtol=0.1, atol=0.1)
        exact = tiny_engine()
        reference = logits_of(exact, PROMPTS, random_steering(exact))
        torch.testing.assert_close(steered.float(), reference, rtol=0.1, atol=0.4)
        assert len(engine.generate(PROMPTS, steering=steering, max_new_tokens=4)) == 3


class TestStream:
    def test_pieces_are_whole_characters(self, tiny_llama: Any) -> None:
        """Bytes are tokens here, so that a character of two or more needs several."""
        ids = tiny_llama.tokenizer("ünï→", add_special_tokens=False)["input_ids"]
        assert len(ids) > 4
        assert list(tiny_llama.encoding.pieces([], iter(ids))) == ["ü", "n", "ï", "→"]
        cut = list(tiny_llama.encoding.pieces([], iter(ids[:-1])))
        assert "".join(cut) == tiny_llama.tokenizer.decode(ids[:-1])

    def test_sampling_is_repeatable_and_that_of_generate(self, tiny_llama: Any) -> None:
        settings = {"do_sample": True, "temperature": 2.0, "max_new_tokens": 10, "seed": 3}
        state = torch.get_rng_state()
        once = "".join(tiny_llama.stream("hi", **settings))
        assert once == "".join(tiny_llama.stream("hi", **settings))
        assert once == tiny_llama.generate(["hi"], **settings)[0].text
        assert once != "".join(tiny_llama.stream("hi", **{**settings, "seed": 4}))
        assert torch.equal(torch.get_rng_state(), state)

    def test_mistakes_show_before_the_first_piece(self, tiny_llama: Any) -> None:
        with pytest.raises(ModelError, match="max_new_tokens"):
            tiny_llama.stream("hi", max_new_tokens=0)

    def test_closing_it_early_undoes_everything(self, tiny_llama: Any) -> None:
        before = hooks_of(tiny_llama.model)  # transformers leaves some of its own
        steering = random_steering(tiny_llama, 0, "generated")
        stream = tiny_llama.stream(PROMPTS[2], steering=steering, max_new_tokens=40)
        next(stream)
        stream.close()
        assert hooks_of(tiny_llama.model) == before
        assert list(stream) == []


class TestScore:
    def test_it_is_the_mean_negative_log_likelihood(self, tiny_llama: Any) -> None:
        responses = ["moon", "a sea", "x"]
        scores = tiny_llama.score(PROMPTS, responses)
        for prompt, response, score in zip(PROMPTS, responses, scores, strict=True):
            start = prompt_ids(tiny_llama.tokenizer, prompt)
            answer = tiny_llama.tokenizer(response, add_special_tokens=False)["input_ids"]
            with torch.no_grad():
                logits = tiny_llama.model(torch.tensor([start + answer])).logits[0].double()
            likely = logits.log_softmax(-1)
            expected = -sum(float(likely[len(start) + i - 1, token]) for i, token in enumerate(answer)) / len(
                answer
            )
            assert score == pytest.approx(expected, rel=1e-4)

    def test_responses_may_be_token_ids(self, tiny_llama: Any) -> None:
        ids = tiny_llama.tokenizer("moon", add_special_tokens=False)["input_ids"]
        assert tiny_llama.score(["hi"], [ids]) == pytest.approx(tiny_llama.score(["hi"], ["moon"]))

    def test_an_empty_response_has_no_score(self, tiny_llama: Any) -> None:
        first, second = tiny_llama.score(["hi", "hi"], ["", "moon"])
        assert math.isnan(first)
        assert second == pytest.approx(tiny_llama.score(["hi"], ["moon"])[0])
        assert math.isnan(tiny_llama.score(["hi"], [""])[0])

    def test_single_tokens_after_one_prompt_are_read_off_one_pass(self, tiny_llama: Any) -> None:
        steering = random_steering(tiny_llama, 1)
        prompts, tokens = ["moon", "hi", "moon", "moon", "moon"], [[7], [7], [9], [9, 4], [5]]
        steerings = [None, None, None, None, steering]
        rows: list[int] = []
        handle = tiny_llama.model.lm_head.register_forward_hook(lambda m, a, output: rows.append(len(output)))
        try:
            together = tiny_llama.score(prompts, tokens, steering=steerings)
        finally:
            handle.remove()
        assert sum(rows) == 4
        alone = [
            tiny_llama.score([prompt], [own], steering=one)[0]
            for prompt, own, one in zip(prompts, tokens, steerings, strict=True)
        ]
        assert together == pytest.approx(alone, rel=1e-5)

    def test_generated_edits_act_on_the_response_only(self, tiny_llama: Any) -> None:
        """The prompt's last token predicts the response's first, and it is not generated."""
        late = random_steering(tiny_llama, 1, "generated", 2.0)
        plain = tiny_llama.score(PROMPTS, ["m", "n", "o"])
        assert tiny_llama.score(PROMPTS, ["m", "n", "o"], steering=late) == pytest.approx(plain, rel=1e-5)
        longer = tiny_llama.score(PROMPTS, ["moon"] * 3, steering=late)
        assert longer != pytest.approx(tiny_llama.score(PROMPTS, ["moon"] * 3), rel=1e-2)

    def test_the_steered_model_finds_its_own_text_likelier(self, tiny_llama: Any) -> None:
        steering = random_steering(tiny_llama, 1)
        own = [one.token_ids for one in tiny_llama.generate(PROMPTS, steering=steering, max_new_tokens=12)]
        steered, plain = (sum(tiny_llama.score(PROMPTS, own, steering=s)) for s in (steering, None))
        assert steered < plain

    @pytest.mark.parametrize("responses", [["a"], "abc"])
    def test_every_prompt_needs_a_response(self, tiny_llama: Any, responses: Any) -> None:
        with pytest.raises(PromptError, match=r"give one for each|one for each prompt, not 'abc'"):
            tiny_llama.score(PROMPTS, responses)

    def test_the_head_is_run_on_the_response_only(self, tiny_llama: Any) -> None:
        shapes: list[torch.Size] = []
        handle = tiny_llama.model.lm_head.register_forward_hook(
            lambda m, a, output: shapes.append(output.shape)
        )
        try:
            tiny_llama.score(PROMPTS, ["moon"] * 3)
        finally:
            handle.remove()
        assert shapes == [(3, 5, VOCABULARY)]


def test_a_memory_shortage_halves_the_batch(tiny_llama: Any) -> None:
    expected = tiny_llama.capture(PROMPTS, keep=True)
    refused: list[int] = []

    def refuse(module: Any, args: Any) -> None:
        if len(args[0]) > 1:
            refused.append(len(args[0]))
            raise torch.OutOfMemoryError

    handle = tiny_llama.decoder_blocks.blocks[1].register_forward_pre_hook(refuse)
    try:
        captured = tiny_llama.capture(PROMPTS, keep=True)
    finally:
        handle.remove()
    assert refused
    assert captured.count == 3  # what was read before the shortage is not counted twice
    torch.testing.assert_close(captured.mean, expected.mean)


def test_a_multimodal_model_is_steered_in_its_language_model() -> None:
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    shape = {"hidden_size": WIDTH, "intermediate_size": 48, "num_attention_heads": 4, "num_hidden_layers": 2}
    config = Gemma3Config(
        text_config={**shape, "num_key_value_heads": 2, "head_dim": 8, "vocab_size": VOCABULARY},
        vision_config={**shape, "image_size": 16, "patch_size": 8},
        mm_tokens_per_image=4,
        image_token_index=VOCABULARY - 1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        engine = TransformersEngine(Gemma3ForConditionalGeneration(config), tiny_tokenizer(), model_id="mm")
    assert (engine.identity.blocks, engine.identity.width) == (2, WIDTH)
    rows = [random_steering(engine, 1, "generated", 3.0), None, random_steering(engine, 2, "all", 3.0)]
    batch = tokens_of(engine.generate(PROMPTS, steering=rows, max_new_tokens=6))
    alone = [
        engine.generate([prompt], steering=row, max_new_tokens=6)[0].token_ids
        for prompt, row in zip(PROMPTS, rows, strict=True)
    ]
    assert batch == alone
    assert batch != tokens_of(engine.generate(PROMPTS, max_new_tokens=6))
    assert engine.score(PROMPTS, ["a"] * 3)


def test_rows_of_a_linear_attention_stay_when_they_end() -> None:
    """Its states can't be selected by row; the others must go on undisturbed all the same."""
    import transformers

    config = transformers.Lfm2Config(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        block_ff_dim=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention", "conv"],
        initializer_range=0.2,
        pad_token_id=0,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.Lfm2ForCausalLM(config).eval()
    engine = TransformersEngine(model, tiny_tokenizer(), model_id="lfm2")
    rows = [None, random_steering(engine, 1), random_steering(engine, 2, "generated")]
    first = engine.generate(PROMPTS, steering=rows, max_new_tokens=2)[0].token_ids[1]
    model.generation_config.eos_token_id = first
    engine = TransformersEngine(model, tiny_tokenizer(), model_id="lfm2")
    batch = engine.generate(PROMPTS, steering=rows, max_new_tokens=40)
    alone = [
        engine.generate([prompt], steering=row, max_new_tokens=40)[0]
        for prompt, row in zip(PROMPTS, rows, strict=True)
    ]
    assert tokens_of(batch) == tokens_of(alone)
    assert len(batch[0].token_ids) <= 1
    assert max(len(one.token_ids) for one in batch) > 16


@pytest.mark.parametrize("kind", ["Mamba", "Rwkv"])
def test_state_space_models_work_too(kind: str) -> None:
    """No positions, no key/value cache, a state of their own kind."""
    import transformers

    sizes = {"Mamba": {"state_size": 4}, "Rwkv": {"attention_hidden_size": WIDTH, "context_length": 128}}
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=2, eos_token_id=2, **sizes[kind]
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}ForCausalLM")(config)
        for weight in model.parameters():
            if kind == "Rwkv" and weight.dim() == 2:  # its own beginning says the same after every token
                torch.nn.init.normal_(weight, std=0.3)
        engine = TransformersEngine(model, tiny_tokenizer(), model_id=kind)
    steering = random_steering(engine, 1, "generated", 3.0)
    [response] = engine.generate(PROMPTS[:1], steering=steering, max_new_tokens=6)
    [uncached] = engine.generate(PROMPTS[:1], steering=steering, max_new_tokens=6, use_cache=False)
    assert response == uncached
    assert "".join(engine.stream(PROMPTS[0], steering=steering, max_new_tokens=6)) == response.text
    assert response != engine.generate(PROMPTS[:1], max_new_tokens=6)[0]
