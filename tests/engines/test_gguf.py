"""Models in GGUF files: loaded by every name that leads to one, and ordinary models from then on."""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path

import pytest
import torch
import transformers
from tests.tiny import PROMPTS, random_steering, tiny_model, tokens_of
from tests.tiny_gguf import tiny_gguf

import trimtab
from trimtab.engines import names
from trimtab.engines.chat import format_prompt, prompt_ids
from trimtab.errors import ModelError


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.Q8_0.gguf")


@pytest.mark.parametrize("quantised", [True, False])
def test_the_weights_are_those_of_the_file(tmp_path: Path, quantised: bool) -> None:
    path = tiny_gguf(tmp_path / "tiny.gguf", quantised=quantised)
    found = dict(trimtab.load(path, dtype="float32", device="cpu").model.named_parameters())
    for name, weight in tiny_model("llama", intermediate_size=64).named_parameters():
        if quantised:
            assert torch.allclose(found[name], weight, atol=float(weight.detach().abs().max()) / 100)
        else:
            assert torch.equal(found[name], weight)


@pytest.mark.parametrize("kind", ["Q5_0", "Q5_1"])
def test_kinds_of_blocks_that_transformers_leaves_out(tmp_path: Path, kind: str) -> None:
    # The file of Gemma 3 270M, Q4_K_M by name, holds Q5_0, as its width is no multiple of 256.
    path = tiny_gguf(tmp_path / "tiny.gguf", kind=kind)
    found = dict(trimtab.load(path, dtype="float32", device="cpu").model.named_parameters())
    for name, weight in tiny_model("llama", intermediate_size=64).named_parameters():
        assert torch.allclose(found[name], weight, atol=float(weight.detach().abs().max()) / 12), name


def test_a_prompt_begins_as_the_file_says(tmp_path: Path) -> None:
    # Without the token that a text begins with, Gemma writes nonsense.
    for add_bos, first in ((True, [1]), (False, []), (None, [])):
        path = tiny_gguf(tmp_path / f"{add_bos}.gguf", template=None, add_bos=add_bos)
        ids = list(prompt_ids(trimtab.load(path, device="cpu").tokenizer, "hi"))
        assert [token for token in ids if token == 1] == first
        assert ids[: len(first)] == first


@pytest.mark.parametrize(("key", "heads"), [("head_count", 1), ("head_count", 2), ("head_count_kv", 1)])
def test_weights_that_do_not_fit_the_head_of_the_file_are_refused(
    tmp_path: Path, key: str, heads: int
) -> None:
    path = tiny_gguf(tmp_path / "tiny.gguf")
    whole, name = path.read_bytes(), f"llama.attention.{key}".encode()
    start = struct.pack("<Q", len(name)) + name  # of the entry: its key, its kind, its value
    place = whole.index(start) + len(start) + 4
    path.write_bytes(whole[:place] + struct.pack("<I", heads) + whole[place + 4 :])
    with pytest.raises(ModelError, match=r"tiny\.gguf does not fit its own head: .*k_proj.* is \["):
        trimtab.load(path, device="cpu")


def test_every_name_leads_to_the_file(file: Path) -> None:
    loaded = [
        trimtab.load(file, device="cpu"),
        trimtab.load(str(file), device="cpu"),
        trimtab.load(file.parent, gguf_file=file.name, device="cpu"),
    ]
    assert len({engine.identity for engine in loaded}) == 1
    identity = loaded[0].identity
    assert (identity.id, identity.revision, identity.blocks) == ("tiny.Q8_0.gguf", None, 3)
    assert identity.weights is not None
    assert {engine.identity.weights for engine in loaded} == {identity.weights}
    answers = [tokens_of(engine.generate(PROMPTS, max_new_tokens=5)) for engine in loaded]
    assert answers[0] == answers[1] == answers[2]


def test_the_template_and_the_end_come_along(file: Path) -> None:
    engine = trimtab.load(file, device="cpu")
    assert engine.identity.chat_template.startswith("sha256:")
    assert format_prompt(engine.tokenizer, "hi") == "<user>hi<|end|><answer>"
    assert engine.model.generation_config.eos_token_id == engine.tokenizer.eos_token_id == 2


def test_the_identity_is_the_same_in_every_dtype(file: Path) -> None:
    single, half = (trimtab.load(file, dtype=dtype, device="cpu") for dtype in ("float32", "bfloat16"))
    assert (single.model.dtype, half.model.dtype) == (torch.float32, torch.bfloat16)
    assert single.identity.weights == half.identity.weights
    random_steering(single).check_model(half.identity)


@pytest.mark.parametrize(("quantised", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_what_the_file_was_written_in(tmp_path: Path, quantised: bool, dtype: torch.dtype) -> None:
    path = tiny_gguf(tmp_path / "tiny.gguf", quantised=quantised)
    assert trimtab.load(path, dtype="auto", device="cpu").model.dtype == dtype


def test_what_was_loaded_can_be_saved_and_learns(file: Path, tmp_path: Path) -> None:
    engine = trimtab.load(file, dtype="float32", device="cpu")
    engine.model.save_pretrained(tmp_path / "saved")
    engine.tokenizer.save_pretrained(tmp_path / "saved")
    assert "quantization_config" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    again = trimtab.load(tmp_path / "saved", device="cpu")
    assert again.identity.weights == engine.identity.weights
    assert again.identity.chat_template == engine.identity.chat_template
    assert tokens_of(again.generate(PROMPTS, max_new_tokens=5)) == tokens_of(
        engine.generate(PROMPTS, max_new_tokens=5)
    )
    engine.model(torch.tensor([[5, 6]])).logits.sum().backward()
    assert engine.model.get_input_embeddings().weight.grad is not None


def test_no_bar_is_drawn_into_a_log(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trimtab.load(file, device="cpu")
    assert capfd.readouterr().err == ""


def test_a_steering_fits_the_file_it_was_made_on(file: Path) -> None:
    engine = trimtab.load(file, device="cpu")
    steering = random_steering(engine)
    plain, steered = engine.generate([PROMPTS[0]] * 2, steering=[None, steering], max_new_tokens=8)
    assert plain.token_ids != steered.token_ids


def test_names_on_the_hub() -> None:
    assert names.source_of("someone/model-GGUF/q4/model.Q4_K_M.gguf") == names.Source(
        "someone/model-GGUF",
        "someone/model-GGUF/q4/model.Q4_K_M.gguf",
        gguf_file="q4/model.Q4_K_M.gguf",
    )
    assert names.source_of("someone/model", "model.gguf").model_id == "someone/model/model.gguf"


def test_a_file_in_the_hubs_cache_has_the_hubs_name(file: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "models--someone--model" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    shutil.copy(file, snapshot)
    assert trimtab.load(snapshot / file.name, device="cpu").identity.id == f"someone/model/{file.name}"


@pytest.mark.parametrize(
    ("name", "gguf_file", "words"),
    [
        (
            "{folder}/other.gguf",
            None,
            "there is no file other.gguf in the folder .*; it holds tiny.Q8_0.gguf",
        ),
        ("{folder}", "other.gguf", "there is no file other.gguf in the folder .*; it holds tiny.Q8_0.gguf"),
        ("{folder}", None, "holds no config.json, but tiny.Q8_0.gguf; name the GGUF file"),
        ("{folder}", "tiny.bin", "is no GGUF file"),
        ("{folder}/tiny.Q8_0.gguf", "tiny.Q8_0.gguf", "is a GGUF file itself; leave gguf_file"),
        ("no-such.gguf", None, "there is no file no-such.gguf in the folder"),
        ("/no-such-folder/model.gguf", None, "there is no file /no-such-folder/model.gguf"),
    ],
)
def test_what_is_not_there(file: Path, name: str, gguf_file: str | None, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        trimtab.load(name.format(folder=file.parent), gguf_file=gguf_file)


def test_a_file_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"hello there")
    with pytest.raises(ModelError, match=r"model.gguf can't be loaded") as caught:
        trimtab.load(tmp_path / "model.gguf")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_a_missing_package_is_named(file: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    monkeypatch.setattr(transformers.utils, f"is_{package}_available", lambda *_: False)
    with pytest.raises(ModelError, match=rf"takes the package {package}: pip install 'trimtab\[gguf\]'"):
        trimtab.load(file)


def test_it_is_quantised_already(file: Path) -> None:
    with pytest.raises(ModelError, match="leave the quantization out"):
        trimtab.load(file, quantization_config={"bits": 4})
