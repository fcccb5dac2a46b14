"""The engine over vLLM keeps the contract: what it reads, writes and scores is what the transformers engine does.

One engine of nano for most, in processes of its own, which the commands use too; one of a tiny random Gemma 2, whose
vLLM runs in this process.
Prompts come in chunks, several steps each, and more steerings are in use than vLLM runs requests at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.on_vllm.conftest import SMALL
from tests.tiny import PROMPTS, random_steering, tokens_of

import trimtab
from trimtab.constraint import Constraint
from trimtab.engines.base import Engine
from trimtab.errors import ModelError, PromptError, SteeringError
from trimtab.steering import when as condition
from trimtab.steering.edits import Edit
from trimtab.steering.steering import Record, Steering
from trimtab.vllm.engine import VllmEngine

# What vLLM and what it imports warn of is not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")

LONG = "Tell me about the river and the city, in three sentences, and be kind to the reader. " * 3
ASKED = [*PROMPTS, LONG]


@pytest.fixture(scope="module")
def plain() -> Engine:
    """Nano under transformers."""
    return trimtab.load("nano", device="cpu")


@pytest.fixture(scope="module")
def steerings(plain: Engine) -> list[Any]:
    """Gated edits, additions and set projections together, for tokens of all kinds."""
    scopes = ("all", "prompt", "generated")
    return [random_steering(plain, seed, scopes[seed % 3]) for seed in range(12)]


def test_it_is_the_same_model(nano: VllmEngine, plain: Engine) -> None:
    assert nano.identity == plain.identity
    assert nano.tokenizer("a rocket")["input_ids"] == plain.tokenizer("a rocket")["input_ids"]


class TestGenerate:
    def test_every_row_has_its_own_steering(
        self, nano: VllmEngine, plain: Engine, steerings: list[Any]
    ) -> None:
        """One prompt under many steerings, compositions among them, and other prompts under the same."""
        rows = [None, *steerings, steerings[0] + steerings[4], (steerings[1] * -0.5) + steerings[2], None]
        asked = [LONG] * len(rows) + [PROMPTS[row % 3] for row in range(len(rows))]
        settings: dict[str, Any] = {"steering": rows * 2, "max_new_tokens": 20}
        found = nano.generate(asked, **settings)
        assert found == plain.generate(asked, **settings)
        assert len(set(tokens_of(found[: len(rows)]))) > 8
        again = nano.generate(asked, **settings)  # now from the prefix cache
        assert again == found

    def test_a_chat_and_a_stop_by_the_model(self, nano: VllmEngine, plain: Engine) -> None:
        chat = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": "What is a rocket?"},
        ]
        found = nano.generate([chat, "hi"], max_new_tokens=120)
        assert found == plain.generate([chat, "hi"], max_new_tokens=120)
        assert any(one.finished for one in found)

    def test_nothing_and_no_strength_change_nothing(self, nano: VllmEngine, steerings: list[Any]) -> None:
        [unsteered] = nano.generate([LONG], max_new_tokens=20)
        score = nano.score([LONG], [unsteered.token_ids])
        for nothing in (steerings[0] * 0, trimtab.Steering("empty", (), steerings[0].record)):
            assert nano.generate([LONG], steering=nothing, max_new_tokens=20) == [unsteered]
            assert nano.score([LONG], [unsteered.token_ids], steering=nothing) == score

    def test_composition_has_no_order(self, nano: VllmEngine, steerings: list[Any]) -> None:
        one, two = steerings[0] + steerings[1], steerings[1] + steerings[0]
        assert nano.generate(ASKED, steering=one, max_new_tokens=16) == nano.generate(
            ASKED, steering=two, max_new_tokens=16
        )

    def test_a_condition_is_decided_for_each_prompt(
        self, nano: VllmEngine, plain: Engine, steerings: list[Any]
    ) -> None:
        sometimes = steerings[0].when(condition.Matches("rocket|river"))
        settings: dict[str, Any] = {"steering": sometimes, "max_new_tokens": 12}
        found = nano.generate(ASKED, **settings)
        assert found == plain.generate(ASKED, **settings)
        assert nano.decided(sometimes, ["hi"]) == [None]

    def test_a_batch_size_changes_nothing_but_how_many_run_at_once(
        self, nano: VllmEngine, steerings: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        running: list[int] = []
        step = nano._requests._step

        def counted() -> None:
            running.append(nano.llm.llm_engine.get_num_unfinished_requests())
            step()

        monkeypatch.setattr(nano._requests, "_step", counted)
        settings: dict[str, Any] = {"steering": steerings[:4], "max_new_tokens": 8}
        one = nano.generate(ASKED, batch_size=1, **settings)
        assert max(running) == 1
        assert nano.generate(ASKED, **settings) == one
        assert max(running) == 4

    def test_progress_is_told(self, nano: VllmEngine) -> None:
        told: list[Any] = []
        nano.generate(
            ASKED,
            do_sample=True,
            num_return_sequences=2,
            max_new_tokens=3,
            progress=lambda *now: told.append(now),
        )
        assert told == [("writing", done, 4) for done in range(5)]


class TestSampling:
    def test_it_is_repeatable_whatever_else_is_in_the_batch(self, nano: VllmEngine) -> None:
        settings: dict[str, Any] = {"do_sample": True, "temperature": 1.5, "seed": 3, "max_new_tokens": 12}
        found = nano.generate(ASKED, num_return_sequences=3, **settings)
        assert [one.prompt_index for one in found] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
        assert len(set(tokens_of(found[9:]))) == 3
        assert nano.generate(ASKED, num_return_sequences=3, batch_size=1, **settings) == found
        assert nano.generate(ASKED, num_return_sequences=1, **settings) == found[::3]
        other = nano.generate(ASKED, num_return_sequences=3, **{**settings, "seed": 4})
        assert tokens_of(other) != tokens_of(found)

    def test_of_one_token_it_is_greedy(self, nano: VllmEngine, plain: Engine) -> None:
        settings: dict[str, Any] = {"max_new_tokens": 12}
        found = nano.generate(ASKED, do_sample=True, top_k=1, temperature=2.0, **settings)
        assert found == plain.generate(ASKED, **settings)
        found = nano.generate(ASKED, do_sample=True, top_p=1e-6, **settings)
        assert found == plain.generate(ASKED, **settings)


class TestStream:
    def test_the_pieces_are_what_generate_gives(self, nano: VllmEngine, steerings: list[Any]) -> None:
        for steering in (None, steerings[0]):
            pieces = list(nano.stream(LONG, steering=steering, max_new_tokens=24))
            assert len(pieces) > 5
            [whole] = nano.generate([LONG], steering=steering, max_new_tokens=24)
            assert "".join(pieces) == whole.text
        sampled: dict[str, Any] = {"do_sample": True, "seed": 5, "max_new_tokens": 16}
        assert "".join(nano.stream("hi", **sampled)) == nano.generate(["hi"], **sampled)[0].text

    def test_between_its_pieces_the_engine_is_free(self, nano: VllmEngine, steerings: list[Any]) -> None:
        alone = "".join(nano.stream(LONG, steering=steerings[0], max_new_tokens=16))
        one = nano.stream(LONG, steering=steerings[0], max_new_tokens=16)
        two = nano.stream("hi", max_new_tokens=16)
        first, other = next(one), next(two)
        expected = nano.generate(ASKED, steering=steerings[1], max_new_tokens=8)
        assert first + "".join(one) == alone
        assert other + "".join(two) == nano.generate(["hi"], max_new_tokens=16)[0].text
        assert nano.generate(ASKED, steering=steerings[1], max_new_tokens=8) == expected

    def test_leaving_it_ends_the_request(self, nano: VllmEngine) -> None:
        stream = nano.stream(LONG, max_new_tokens=200)
        next(stream)
        assert nano.llm.llm_engine.get_num_unfinished_requests() == 1
        stream.close()  # type: ignore[attr-defined]
        assert nano.llm.llm_engine.get_num_unfinished_requests() == 0


class TestScore:
    def test_it_is_that_of_transformers(self, nano: VllmEngine, plain: Engine, steerings: list[Any]) -> None:
        responses = [one.token_ids for one in plain.generate(ASKED, max_new_tokens=20)]
        asked = [*ASKED, "hi", "hi", "hi"]
        given = [*responses, "A rocket is loud.", "", responses[1][:1]]
        for steering in (None, [None, *steerings[:4], None, steerings[2]]):
            found = nano.score(asked, given, steering=steering)
            expected = plain.score(asked, given, steering=steering)
            assert math.isnan(found[5])
            assert math.isnan(expected[5])
            found.pop(5)
            expected.pop(5)
            torch.testing.assert_close(torch.tensor(found), torch.tensor(expected), atol=1e-3, rtol=0)

    def test_a_response_may_fill_the_context(self, nano: VllmEngine, plain: Engine) -> None:
        limit = nano.llm.model_config.max_model_len
        room = limit - len(nano._encoding.prompts(["hi"])[0])
        answer = [300 + number % 50 for number in range(room)]
        torch.testing.assert_close(
            nano.score(["hi"], [answer]), plain.score(["hi"], [answer]), atol=1e-3, rtol=0
        )
        with pytest.raises(PromptError, match=f"has {limit + 1} tokens with its response"):
            nano.score(["hi"], [[*answer, 300]])


def same_capture(found: trimtab.Capture, expected: trimtab.Capture) -> None:
    """Within what float32 sums in another order come to, of activations up to some hundreds."""
    assert (found.blocks, found.count) == (expected.blocks, expected.count)
    for name in ("mean", "second_moment", "activations"):
        one, two = getattr(found, name), getattr(expected, name)
        assert (one is None) == (two is None)
        if one is not None:
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-3)


class TestCapture:
    @pytest.mark.parametrize("positions", ["last", "mean", "all", 0, -2])
    def test_it_is_that_of_transformers(self, nano: VllmEngine, plain: Engine, positions: Any) -> None:
        blocks = plain.identity.blocks
        directions = torch.randn(blocks, 2, plain.identity.width, generator=torch.Generator().manual_seed(0))
        directions /= directions.norm(dim=-1, keepdim=True)
        options: dict[str, Any] = {"positions": positions, "directions": directions, "keep": True}
        for _ in range(2):  # the second time, the prompts are in the prefix cache
            same_capture(nano.capture(ASKED, **options), plain.capture(ASKED, **options))

    def test_some_blocks_without_what_was_read(self, nano: VllmEngine, plain: Engine) -> None:
        same_capture(nano.capture(ASKED, blocks=[-1, 1]), plain.capture(ASKED, blocks=[-1, 1]))

    def test_the_unsteered_model_is_read_while_steered_requests_run(
        self, nano: VllmEngine, plain: Engine, steerings: list[Any]
    ) -> None:
        stream = nano.stream(LONG, steering=steerings[0], max_new_tokens=60)
        first = next(stream)
        same_capture(nano.capture(ASKED, keep=True), plain.capture(ASKED, keep=True))
        [whole] = nano.generate([LONG], steering=steerings[0], max_new_tokens=60)
        assert first + "".join(stream) == whole.text

    def test_many_prompts_are_fetched_in_groups(
        self, nano: VllmEngine, plain: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("trimtab.vllm.worker.recording._MOST_KEPT", 3000)
        same_capture(
            nano.capture(ASKED * 2, keep=True, positions="all"),
            plain.capture(ASKED * 2, keep=True, positions="all"),
        )

    def test_a_prompt_needs_room_for_one_token(self, nano: VllmEngine) -> None:
        word = "river "
        few = len(nano._encoding.prompts([word])[0])
        most = nano.llm.model_config.max_model_len
        each = len(nano._encoding.prompts([word * 11])[0]) - len(nano._encoding.prompts([word * 10])[0])
        prompt = word * ((most - few) // each + 1)
        assert len(nano._encoding.prompts([prompt])[0]) == most, "of another tokenizer, choose another word"
        with pytest.raises(PromptError, match=f"{most + 1} tokens with the one that vllm always writes"):
            nano.capture([prompt])


class TestErrors:
    def test_prompts(self, nano: VllmEngine, plain: Engine) -> None:
        for broken in ([], "hi", ["word " * 600]):
            messages = []
            for engine in (nano, plain):
                with pytest.raises(PromptError) as error:
                    engine.generate(broken)
                messages.append(str(error.value))
            assert messages[0] == messages[1]
        with pytest.raises(PromptError, match="positions are"):
            nano.capture(["hi"], positions="first")  # type: ignore[arg-type]

    def test_steerings(self, nano: VllmEngine, steerings: list[Any], tiny_llama: Any) -> None:
        with pytest.raises(SteeringError, match="2 steerings for 1 prompts"):
            nano.generate(["hi"], steering=steerings[:2])
        with pytest.raises(SteeringError, match="tiny-llama"):
            nano.generate(["hi"], steering=random_steering(tiny_llama))
        much = steerings[0] + steerings[3] + steerings[6] + steerings[9]
        more = much + steerings[1] + steerings[2] + steerings[4] + steerings[5] + steerings[7]
        assert nano.generate(["hi"], steering=much, max_new_tokens=2)
        with pytest.raises(SteeringError, match="9 gated edits in one block, and the tables take 8"):
            nano.generate(["hi"], steering=more)

    def test_settings(self, nano: VllmEngine) -> None:
        with pytest.raises(ModelError, match="no beam search"):
            nano.generate(["hi"], num_beams=3)
        with pytest.raises(ModelError, match=r"batch_size .* must be a whole number from 1 on, not 0"):
            nano.generate(["hi"], batch_size=0)
        with pytest.raises(ModelError, match="there is no block 9"):
            nano.capture(["hi"], blocks=[9])
        with pytest.raises(ModelError, match="directions have shape"):
            nano.capture(["hi"], directions=torch.zeros(2, 2))

    def test_values_that_are_not_finite(self, nano: VllmEngine, plain: Engine, steerings: list[Any]) -> None:
        """Products that leave float32, and an edit that is finite while its square is not."""
        record, width = Record(plain.identity), plain.identity.width
        many = torch.full((width,), 1e15)
        strong = [Edit(block, many, alpha=1.0, p=many) for block in range(plain.identity.blocks)]
        large = [Edit.add(1, torch.arange(1.0, width + 1), 1e25)]
        before = nano.generate([LONG], steering=steerings[0], max_new_tokens=12)
        for edits in (strong, large):
            much = Steering("much", edits, record)
            for door in (
                lambda: nano.generate(PROMPTS, steering=[None, much, steerings[1]], max_new_tokens=4),  # noqa: B023
                lambda: nano.generate(
                    ["hi"],
                    steering=much,  # noqa: B023
                    max_new_tokens=4,
                    do_sample=True,
                    num_return_sequences=2,
                    seed=1,
                ),
                lambda: nano.generate(
                    ["hi"],
                    steering=much,  # noqa: B023
                    max_new_tokens=4,
                    constraints=Constraint.regex("[ab]+"),
                ),
                lambda: list(nano.stream("hi", steering=much, max_new_tokens=4)),  # noqa: B023
                lambda: nano.score(["hi"], ["yes"], steering=much),  # noqa: B023
            ):
                with pytest.raises(ModelError, match="gives values that are not finite"):
                    door()
            assert nano.generate([LONG], steering=steerings[0], max_new_tokens=12) == before

    def test_after_all_of_these_it_still_works(self, nano: VllmEngine, plain: Engine) -> None:
        assert nano.generate(["hi"], max_new_tokens=8) == plain.generate(["hi"], max_new_tokens=8)
        assert nano.llm.llm_engine.get_num_unfinished_requests() == 0


def test_a_search_is_one_continuous_batch(
    nano: VllmEngine, plain: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every rung asks for all of its candidates at once, and finds what it finds on transformers."""
    from trimtab import instructions, learn, prompts, tune
    from trimtab import nano as built_in

    wanted = instructions.get("lowercase")
    identity = plain.identity
    queries = prompts.default_queries(identity, "validation", 4, 0)
    pairs = prompts.make_pairs(prompts.default_queries(identity, "learning", 8, 0), wanted, "learning")
    calls: list[int] = []
    generate = nano.generate

    def counted(asked: Any, **options: Any) -> Any:
        calls.append(len(asked))
        return generate(asked, **options)

    monkeypatch.setattr(nano, "generate", counted)
    found = []
    for engine in (nano, plain):
        directions = learn.mean_difference(engine, pairs, wanted)
        tuned = tune.search(
            engine,
            directions,
            wanted,
            queries,
            blocks=[1, 2],
            strengths=[0.5, 1.0, 2.0],
            facts=built_in.facts,
            first=2,
            keep=2,
            max_new_tokens=24,
        )
        found.append(tuned)
    assert found[0].best == found[1].best or abs(found[0].best.score - found[1].best.score) < 1e-3
    assert [one.text for one in found[0].steered.responses] == [
        one.text for one in found[1].steered.responses
    ]
    # The baseline with the instructed answers, then 12 candidates on 2 queries, then the better ones on the rest.
    assert calls[:2] == [8, 24]
    assert len(calls) <= 4
    assert sum(calls[1:]) == found[0].rows


def test_the_key_of_cached_answers_knows_the_weights(nano: VllmEngine, plain: Engine) -> None:
    from trimtab.evaluate.cache import model_key

    key = model_key(nano)
    assert key == model_key(nano)
    assert key != model_key(plain)
    assert {"weights", "dtype", "generation", "identity"} <= set(key)


@pytest.fixture(scope="module")
def gemma(model_folder: Callable[[str], Path], quiet: None) -> Iterator[VllmEngine]:
    """A tiny random Gemma 2 without a recorder, its vLLM in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        with VllmEngine(model_folder("gemma2"), record=False, **SMALL) as engine:
            yield engine


class TestAnother:
    def test_it_writes_and_scores_what_transformers_does(
        self, gemma: VllmEngine, reference: Callable[[str], Any]
    ) -> None:
        plain = reference("gemma2")
        assert gemma.identity == plain.identity
        rows = [random_steering(plain, seed, strength=0.4) for seed in range(8)]
        asked = [*ASKED, *ASKED]
        found = gemma.generate(asked, steering=rows, max_new_tokens=16)
        assert found == plain.generate(asked, steering=rows, max_new_tokens=16)
        responses = [one.token_ids for one in found]
        torch.testing.assert_close(
            torch.tensor(gemma.score(asked, responses, steering=rows)),
            torch.tensor(plain.score(asked, responses, steering=rows)),
            atol=1e-3,
            rtol=0,
            equal_nan=True,  # an answer that ends at once has no likelihood
        )

    def test_what_was_not_asked_for_is_refused(self, gemma: VllmEngine) -> None:
        with pytest.raises(ModelError, match="record=False"):
            gemma.capture(["hi"])
