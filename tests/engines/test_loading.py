"""Loading by name; every failure is one line that says what to do."""

from __future__ import annotations

import dataclasses
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.out_of_reach import without_hub
from tests.tiny import PROMPTS, tiny_engine, tiny_model, tiny_tokenizer, tokens_of

import trimtab
from trimtab.engines import as_engine, loading, names
from trimtab.engines.loading import load
from trimtab.errors import ModelError, PromptError, SteeringError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "my-llama"
    tiny_model("llama").save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def _refused(name: str | Path, words: str, **options: Any) -> str:
    with pytest.raises(ModelError, match=words) as caught:
        load(name, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(name) in message or "device" in message or "dtype" in message
    return message


def test_a_folder_is_loaded_as_it_was_saved(folder: Path) -> None:
    expected = tiny_engine()
    for name in (folder, str(folder)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            engine = load(name, device="cpu")
        assert engine.identity.id == "my-llama"
        assert engine.identity.revision is None
        assert engine.identity.chat_template == expected.identity.chat_template
        assert engine.model.dtype == torch.float32
        generated = engine.generate(PROMPTS, max_new_tokens=6)
        assert tokens_of(generated) == tokens_of(expected.generate(PROMPTS, max_new_tokens=6))
    assert trimtab.load is load


def test_no_bar_is_drawn_into_a_log(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    load(folder, device="cpu")
    assert capfd.readouterr().err == ""
    assert logging.is_progress_bar_enabled()


@pytest.mark.parametrize("dtype", ["bfloat16", "torch.bfloat16", torch.bfloat16])
def test_the_dtype_is_passed_on(folder: Path, dtype: Any) -> None:
    assert load(folder, dtype=dtype, device="cpu").model.dtype == torch.bfloat16


def test_the_rest_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def stop(source: names.Source, options: dict[str, Any], weights: dict[str, Any], *_: Any) -> Any:
        seen.append((source.place, options, weights))
        raise OSError("stop here")

    monkeypatch.setattr(loading, "_from_pretrained", stop)
    with pytest.raises(ModelError, match="stop here"):
        load(
            "someone/model",
            revision="abc",
            trust_remote_code=True,
            device_map="auto",
            quantization_config={"bits": 4},
        )
    [(source, options, weights)] = seen
    assert source == "someone/model"
    assert options == {"revision": "abc", "trust_remote_code": True}
    assert weights == {
        "use_safetensors": True,
        "device_map": "auto",
        "quantization_config": {"bits": 4},
    }


@pytest.mark.parametrize("stored", [False, True])
def test_a_quantized_model_is_placed_when_it_is_loaded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: bool
) -> None:
    """Whether it is quantized by request or was saved so: some can't be moved once they are there."""
    import transformers

    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    if stored:
        config = json.loads((tmp_path / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
        (tmp_path / "config.json").write_text(json.dumps(config))
    model = tiny_model("llama")
    model.hf_quantizer = object()
    seen: list[Any] = []

    def load_it(source: str, **options: Any) -> Any:
        seen.append(options["device_map"])
        return model, {}

    def moved(*_: Any) -> None:
        raise ValueError("`.to` is not supported for `8-bit` bitsandbytes models")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", load_it)
    monkeypatch.setattr(model, "to", moved)
    load(tmp_path, device="cpu", quantization_config=None if stored else {"bits": 8})
    assert seen == [torch.device("cpu")]


def test_decoder_blocks_are_passed_on(folder: Path) -> None:
    assert load(folder, device="cpu", decoder_blocks="model.layers").decoder_blocks.path == "model.layers"
    with pytest.raises(ModelError, match="has nothing there"):
        load(folder, device="cpu", decoder_blocks="model.blocks")


def test_a_prompt_that_is_too_long_is_told_of_once(folder: Path, tmp_path: Path, caplog: Any) -> None:
    shutil.copytree(folder, tmp_path / "limited")
    path = tmp_path / "limited" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 16}))
    engine = load(tmp_path / "limited", device="cpu")
    with pytest.raises(PromptError, match="the context of limited is"):
        engine.generate(["x" * 600], max_new_tokens=2)
    assert caplog.records == []


def test_the_built_in_model_has_no_gguf_file() -> None:
    _refused("nano", "it has no GGUF file", gguf_file="x.gguf")


def test_a_missing_folder(tmp_path: Path) -> None:
    _refused(tmp_path / "no", "there is no folder")
    _refused("./no-such-folder", "there is no folder")
    _refused("~/no-such-folder", "there is no folder")
    _refused("three/part/name", "there is no folder")
    (tmp_path / "file.txt").write_text("")
    _refused(tmp_path / "file.txt", "is a file")


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    _refused(tmp_path, "holds no config.json")
    (tmp_path / "config.json").write_text("{")
    _refused(tmp_path, "can't be loaded")
    (tmp_path / "config.json").write_text('{"model_type": "no-such-architecture"}')
    _refused(tmp_path, "no-such-architecture")
    for model_type in ("bert", "vit"):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
        _refused(tmp_path, f"{model_type} is not a causal language model")
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    _refused(tmp_path, "encoder-decoder")


@pytest.mark.parametrize(
    "change", [{"num_hidden_layers": "many"}, {"hidden_size": None}, {"num_attention_heads": 0}]
)
def test_a_config_that_makes_no_sense(folder: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    """What checks configs raises errors of its own kinds, or divides by zero."""
    whole = Path(shutil.copytree(folder, tmp_path / "whole"))
    config = json.loads((whole / "config.json").read_text())
    (whole / "config.json").write_text(json.dumps({**config, **change}))
    _refused(whole, "can't be loaded")


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    _refused(tmp_path, "holds no weights")
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:5000])
    _refused(tmp_path, "can't be loaded")
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    (tmp_path / "tokenizer.json").unlink()
    _refused(tmp_path, "holds no tokenizer|another package")


def test_pickled_weights_only_when_allowed(folder: Path, tmp_path: Path) -> None:
    model = tiny_model("llama")
    model.config.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    message = _refused(tmp_path, "safetensors")
    assert "allow_pickle=True" in message
    engine = load(tmp_path, allow_pickle=True, device="cpu")
    expected = load(folder, device="cpu")
    assert torch.equal(engine.model.lm_head.weight, expected.model.lm_head.weight)


def test_code_that_comes_with_a_model_is_not_run_unasked(tmp_path: Path) -> None:
    config = {
        "model_type": "own",
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise SystemExit('ran')")
    _refused(tmp_path, "say trust_remote_code=True")


def test_the_hub_out_of_reach() -> None:
    message = _refused("someone/a-model-nobody-has", "the Hub can't be reached")
    assert "nano" in message


def test_a_hub_that_nobody_answers_for_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    without_hub(monkeypatch)
    monkeypatch.setattr(loading, "_from_pretrained", lambda *arguments: pytest.fail("it was tried"))
    _refused(
        "someone/a-model-nobody-has", "the Hub can't be reached and someone/a-model-nobody-has is not in its"
    )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("GatedRepoError", "is gated: accept"),
        ("RepositoryNotFoundError", "no model someone/model on the Hub"),
        ("RevisionNotFoundError", "no such revision"),
        ("LocalEntryNotFoundError", "can't be reached"),
    ],
)
def test_what_the_hub_says(monkeypatch: pytest.MonkeyPatch, kind: str, words: str) -> None:
    from huggingface_hub import errors

    def fail(*arguments: Any) -> Any:
        kind_of_error = getattr(errors, kind)
        cause = kind_of_error.__new__(kind_of_error)  # their constructors want a response of the server
        cause.args = ("what the Hub said\nand more",)
        raise OSError("transformers says something long\nabout it") from cause

    monkeypatch.setattr(loading, "_from_pretrained", fail)
    _refused("someone/model", words)


def test_devices_and_dtypes_that_are_not_there(folder: Path) -> None:
    _refused(folder, "the device 'quantum' can't be used here", device="quantum")
    _refused(folder, "device or device_map, not both", device="cpu", device_map="auto")
    for dtype in ("float31", "int64", "load"):
        _refused(folder, f"no dtype '{dtype}'", dtype=dtype)


def test_the_built_in_model_without_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.nano.path", lambda name: tmp_path)
    _refused("nano-base", "weights of nano-base are missing from this installation")


def test_the_built_in_model_by_its_names() -> None:
    for name, model_id in (
        ("nano", "nano-instruct"),
        ("nano-instruct", "nano-instruct"),
        ("nano-base", "nano-base"),
    ):
        engine = load(name, device="cpu")
        assert engine.identity.id == model_id
        assert engine.model.dtype == torch.float32
    with pytest.raises(ModelError, match="it has no revisions"):
        load("nano", revision="main")


def test_a_folder_of_the_hubs_cache_is_called_by_its_name_on_the_hub() -> None:
    folder = Path("/cache/models--someone--some-model/snapshots/0123abc")
    assert names.folder_id(folder) == "someone/some-model"
    assert names.folder_id(Path("/models/mine")) == "mine"


class TestTheSameModel:
    """Whichever way it was loaded; and another one, although it is called the same."""

    def test_loaded_or_wrapped_it_is_the_same(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        monkeypatch.chdir(folder.parent)
        for name in (f"./{folder.name}", str(folder)):
            pair = AutoModelForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)
            wrapped, loaded = as_engine(pair).identity, load(name, device="cpu").identity
            assert wrapped == loaded
            assert wrapped.refusal(loaded) is None
            assert wrapped.weights == loaded.weights
            assert loaded.refusal(load(folder, device="cpu", dtype="bfloat16").identity) is None

    def test_another_checkpoint_of_the_same_name_is_refused(self, tmp_path: Path) -> None:
        engines = []
        for number in (0, 1):
            path = tmp_path / f"run-{number}" / "checkpoint-500"
            model = tiny_model("llama")
            for weight in model.parameters():
                weight.data.mul_(1 + number / 100)
            model.save_pretrained(path)
            tiny_tokenizer().save_pretrained(path)
            engines.append(load(path, device="cpu"))
        one, other = engines
        record = trimtab.Record(one.identity)
        steering = trimtab.Steering("x", (trimtab.Edit(1, torch.ones(one.identity.width)),), record)
        one.generate(PROMPTS, steering=steering, max_new_tokens=1)
        with pytest.raises(SteeringError, match=r"the weights differ; .*`moved_to`, `allow_other_model`"):
            other.generate(PROMPTS, steering=steering, max_new_tokens=1)
        other.generate(PROMPTS, steering=steering.moved_to(other.identity), max_new_tokens=1)
        unknown = dataclasses.replace(one.identity, weights=None)  # as saved by versions before
        older = dataclasses.replace(steering, record=trimtab.Record(unknown))
        other.generate(PROMPTS, steering=older, max_new_tokens=1)
