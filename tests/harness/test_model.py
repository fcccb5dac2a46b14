"""lm-eval's model trimtab against lm-eval's own HF model under Steering.on, on tiny models."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.models.huggingface import HFLM
from tests.tiny import random_steering, tiny_engine

from trimtab.errors import InstructionError, ModelError, PromptError, SteeringError
from trimtab.harness import SteeredLM
from trimtab.harness import __main__ as command
from trimtab.steering import when
from trimtab.steering.steering import Steering

CONTEXTS = ["the sea is", "a", "one two three four five", "the sea is", ""]
CONTINUATIONS = [" blue", " b", " six seven", " x", "y and z"]
ARCHITECTURES = ["llama", "gpt2", "gemma2", "mpt", "bloom"]


def asked(kind: Any, rows: list[tuple[Any, ...]]) -> list[Instance]:
    return [Instance(kind, {}, row, number) for number, row in enumerate(rows)]


def pairs() -> list[Instance]:
    return asked("loglikelihood", list(zip(CONTEXTS, CONTINUATIONS, strict=True)))


@pytest.fixture(scope="module")
def engine() -> Any:
    return tiny_engine("llama", max_position_embeddings=256)


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("ERROR", logger="lm_eval")


def of_lm_eval(engine: Any, batch_size: int = 3) -> Any:
    return HFLM(pretrained=engine.model, tokenizer=engine.tokenizer, batch_size=batch_size)


def same(mine: list[tuple[float, bool]], theirs: list[tuple[float, bool]]) -> None:
    assert [one[1] for one in mine] == [one[1] for one in theirs]
    assert [one[0] for one in mine] == pytest.approx([one[0] for one in theirs], abs=1e-4)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("batch_size", [1, 3, None])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_log_likelihoods_are_those_of_lm_evals_own_model_under_the_steering(
    architecture: str, batch_size: int | None
) -> None:
    engine = tiny_engine(architecture)
    steering = random_steering(engine, strength=2.0)
    theirs = of_lm_eval(engine)
    with steering.on(engine.model):
        expected = theirs.loglikelihood(pairs())
    same(SteeredLM(engine, steering, batch_size=batch_size).loglikelihood(pairs()), expected)
    plain = SteeredLM(engine, batch_size=batch_size).loglikelihood(pairs())
    same(plain, theirs.loglikelihood(pairs()))
    assert plain[0][0] != pytest.approx(expected[0][0], abs=1e-2)


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("until", [["e"], []])
def test_answers_are_those_of_lm_evals_own_model_under_the_steering(engine: Any, until: list[str]) -> None:
    steering = random_steering(engine, strength=2.0)
    options = {"until": until, "max_gen_toks": 70}
    requests = asked("generate_until", [(context, options) for context in CONTEXTS[:4]])
    with steering.on(engine.model):
        expected = of_lm_eval(engine).generate_until(requests)
    answers = SteeredLM(engine, steering, batch_size=2).generate_until(requests)
    assert answers == expected
    assert answers != SteeredLM(engine).generate_until(requests)
    if until:
        assert not any("e" in answer for answer in answers)
    else:
        assert max(map(len, answers)) > 32


@pytest.mark.usefixtures("quiet")
def test_whole_texts_are_scored_in_windows_as_lm_eval_does(engine: Any) -> None:
    steering = random_steering(engine, strength=2.0)
    requests = asked("loglikelihood_rolling", [("abc " * 30,), ("short",)])
    theirs = HFLM(pretrained=engine.model, tokenizer=engine.tokenizer, max_length=50, batch_size=2)
    with steering.on(engine.model):
        expected = theirs.loglikelihood_rolling(requests)
    mine = SteeredLM(engine, steering, max_length=50).loglikelihood_rolling(requests)
    assert mine == pytest.approx(expected, abs=1e-3)


@pytest.mark.usefixtures("quiet")
def test_too_long_a_context_loses_its_beginning_as_in_lm_eval(engine: Any) -> None:
    requests = asked("loglikelihood", [("word " * 20, "end"), ("a", "b")])
    theirs = HFLM(pretrained=engine.model, tokenizer=engine.tokenizer, max_length=40, batch_size=2)
    same(SteeredLM(engine, max_length=40).loglikelihood(requests), theirs.loglikelihood(requests))


@pytest.mark.parametrize("tokens", ["prompt", "generated", "answer"])
def test_scoped_edits_tell_the_context_from_what_is_scored(engine: Any, tokens: str) -> None:
    scoped = random_steering(engine, strength=2.0, tokens=tokens)
    rows = [*zip(CONTEXTS[:4], CONTINUATIONS[:4], strict=True), ("one two", " <think>so</think> three")]
    found = SteeredLM(engine, scoped).loglikelihood(asked("loglikelihood", rows))
    for (context, continuation), (value, _) in zip(rows, found, strict=True):
        ids = engine.tokenizer(continuation, add_special_tokens=False)["input_ids"]
        (mean,) = engine.score([context], [ids], steering=scoped, raw=True)
        assert value == pytest.approx(-mean * len(ids), abs=1e-4)


def test_a_when_is_decided_on_the_context_of_each_request(engine: Any) -> None:
    steering = random_steering(engine, strength=2.0)
    found = SteeredLM(engine, steering.when(when.Matches("sea"))).loglikelihood(pairs())
    steered = SteeredLM(engine, steering).loglikelihood(pairs())
    plain = SteeredLM(engine).loglikelihood(pairs())
    sea = ["sea" in context for context in CONTEXTS]
    same(found, [a if acts else b for acts, a, b in zip(sea, steered, plain, strict=True)])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_several_continuations_share_is_read_once(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tiny_engine(architecture)
    steering = random_steering(engine, strength=2.0, tokens="generated") + random_steering(engine, seed=3)
    rows = [
        ("one of", "A"),
        ("two of", "Bcd"),
        ("one of", "Bcd"),
        ("one", "x"),
        ("one of", "CC"),
        ("two of", "e"),
    ]
    choices = asked("loglikelihood", rows)
    one_by_one = [SteeredLM(engine, steering).loglikelihood([choice])[0] for choice in choices]
    read = 0
    forward = engine.model.forward

    @functools.wraps(forward)  # what it takes is looked up
    def counted(*args: Any, **options: Any) -> Any:
        nonlocal read
        read += options["input_ids"].numel()
        return forward(*args, **options)

    monkeypatch.setattr(engine.model, "forward", counted)
    same(SteeredLM(engine, steering).loglikelihood(choices), one_by_one)
    assert read < sum(len(context) + len(rest) - 1 for context, rest in rows)


def test_the_model_runs_under_the_engines_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny_engine("llama", max_position_embeddings=256)
    depth = runs = 0

    class Lock:
        def __enter__(self) -> None:
            nonlocal depth
            depth += 1

        def __exit__(self, *_: object) -> None:
            nonlocal depth
            depth -= 1

    forward = engine.model.forward

    @functools.wraps(forward)
    def watched(*args: Any, **options: Any) -> Any:
        nonlocal runs
        runs += 1
        assert depth
        return forward(*args, **options)

    monkeypatch.setattr(engine, "lock", Lock())
    monkeypatch.setattr(engine.model, "forward", watched)
    SteeredLM(engine).loglikelihood(pairs())
    assert runs


def test_several_steerings_act_as_their_sum_and_folders_are_read(engine: Any, tmp_path: Path) -> None:
    one, two = random_steering(engine, strength=2.0), random_steering(engine, strength=1.0, seed=5)
    one.save(tmp_path / "one")
    mine = SteeredLM(engine, [str(tmp_path / "one"), two], strength=0.5).loglikelihood(pairs())
    same(mine, SteeredLM(engine, (one + two) * 0.5).loglikelihood(pairs()))


def test_the_instruction_stands_behind_the_last_question_of_a_chat(engine: Any) -> None:
    told = SteeredLM(engine, instruction="lowercase")
    chat = [
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "Second?"},
    ]
    text = told.apply_chat_template(chat)
    (phrasing,) = [one for one in told.instructions[0].phrasings("test") if one in text]
    chat[-1]["content"] += f" {phrasing}"
    assert text == SteeredLM(engine).apply_chat_template(chat)
    assert text == of_template(engine, chat)
    # lm-eval gives the text back as a context, which has the instruction already.
    requests = asked("loglikelihood", [(text, "a")])
    same(told.loglikelihood(requests), SteeredLM(engine).loglikelihood(requests))
    # An answer that the task begins is gone on with.
    begun = [*chat, {"role": "assistant", "content": "So"}]
    assert SteeredLM(engine).apply_chat_template(begun, add_generation_prompt=False).endswith("So")


def of_template(engine: Any, chat: list[dict[str, str]]) -> str:
    return str(engine.tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))


def test_the_instruction_stands_in_front_of_a_bare_context(engine: Any) -> None:
    told = SteeredLM(engine, instruction="lowercase")
    found = told.loglikelihood(asked("loglikelihood", [("the sea is", " blue"), ("", "blue")]))
    expected = []
    for context, continuation in (("the sea is", " blue"), ("", "blue")):
        scores = [
            SteeredLM(engine).loglikelihood(
                asked("loglikelihood", [(f"{said}\n\n{context}" if context else said, continuation)])
            )[0]
            for said in told.instructions[0].phrasings("test")
        ]
        expected.append(scores)
    assert all(
        any(one[0] == pytest.approx(s[0], abs=1e-4) for s in each)
        for one, each in zip(found, expected, strict=True)
    )
    with pytest.raises(PromptError, match="no prompt to put an instruction into"):
        told.loglikelihood_rolling(asked("loglikelihood_rolling", [("abc",)]))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steering": "nowhere"}, SteeringError, "nowhere"),
        ({"instruction": "lowercas"}, InstructionError, "lowercase"),
        ({"batch_size": "many"}, ModelError, "batch_size is 'many'"),
        ({"batch_size": 0}, ModelError, "from 1 on"),
    ],
)
def test_mistakes_are_named(
    engine: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        SteeredLM(engine, **options)


def test_a_steering_of_another_model_is_refused(engine: Any) -> None:
    other = random_steering(tiny_engine("gpt2"))
    with pytest.raises(SteeringError, match="not for"):
        SteeredLM(engine, other)


def test_a_task_that_samples_is_given_its_settings(engine: Any) -> None:
    options = {"until": [], "max_gen_toks": 8, "do_sample": True, "temperature": 0.7, "top_k": 1}
    requests = asked("generate_until", [("the sea", options)])
    greedy = asked("generate_until", [("the sea", {"until": [], "max_gen_toks": 8})])
    assert SteeredLM(engine).generate_until(requests) == SteeredLM(engine).generate_until(greedy)
    strange = asked("generate_until", [("the sea", options | {"typical_p": 0.5})])
    with pytest.raises(ModelError, match="typical_p"):
        SteeredLM(engine).generate_until(strange)
    long = asked("generate_until", [("the sea", {"until": [], "max_gen_toks": 400})])
    with pytest.raises(PromptError, match="lower max_gen_toks"):
        SteeredLM(engine).generate_until(long)


def test_the_command_is_lm_evals_with_the_model_in_it(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    assert get_model("trimtab") is SteeredLM
    model_folder = tmp_path / "model"
    engine.model.save_pretrained(model_folder)
    engine.tokenizer.save_pretrained(model_folder)
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    rows = [
        {"text": "1+1=", "choices": ["2", "3"], "gold": 0},
        {"text": "2+1=", "choices": ["2", "3"], "gold": 1},
    ]
    (tasks / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tasks / "sums.yaml").write_text(
        "task: sums\ndataset_path: json\ndataset_kwargs:\n  data_files:\n"
        f"    test: {tasks / 'rows.jsonl'}\n  cache_dir: {tmp_path / 'cache'}\ntest_split: test\n"
        "output_type: multiple_choice\ndoc_to_text: text\ndoc_to_choice: choices\ndoc_to_target: gold\n"
        "metric_list:\n  - metric: acc\n",
        encoding="utf-8",
    )
    arguments = ["run", "--model", "trimtab", "--model_args", f"pretrained={model_folder}", "--device", "cpu"]
    arguments += ["--include_path", str(tasks), "--tasks", "sums", "--output_path", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["lm-eval", *arguments])
    assert command.main() == 0
    assert "sums" in capsys.readouterr().out
    arguments[4] = f"pretrained={model_folder},steering={tmp_path / 'nowhere'}"
    monkeypatch.setattr(sys, "argv", ["lm-eval", *arguments])
    assert command.main() == 2
    assert "nowhere" in capsys.readouterr().err


def test_a_steering_is_not_taken_for_a_list(engine: Any) -> None:
    steering = random_steering(engine)
    lm = SteeredLM(engine, steering)
    assert isinstance(lm.steering, Steering)
    assert lm.steering.digest() == steering.digest()


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for name in [name for name in sys.modules if name.startswith("trimtab.harness")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert command.main() == 2
    assert "pip install 'trimtab[lm-eval]'" in capsys.readouterr().err


def test_a_steering_of_the_hub(hub: Any, engine: Any) -> None:
    from tests.steering.hub_stand_in import TOKEN

    steering = random_steering(engine, strength=2.0)
    steering.push_to_hub("me/random", token=TOKEN)
    found = SteeredLM(engine, ["me/random", "me/random@main"], strength=0.5).steering
    assert found is not None
    assert found.digest() == ((steering + steering) * 0.5).digest()
