"""The card of a saved steering: made of the record alone, and never written over somebody's own."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard

from trimtab import instructions
from trimtab.errors import SteeringError
from trimtab.steering.edits import Edit
from trimtab.steering.model_card import model_card
from trimtab.steering.record import ModelIdentity, Record
from trimtab.steering.steering import Steering
from trimtab.steering.when import Matches

QWEN = ModelIdentity("Qwen/Qwen3-0.6B", "abc", "qwen3", 28, 4, "sha256:" + "0" * 64)
MEASURED = {
    "validation": {"n": 48, "followed": 0.9583, "instructed_followed": 1.0, "divergence": 0.004},
    "test": {
        "baseline": {"n": 32, "followed": 0.0, "quality": {"perplexity": 8.1234, "facts": None}},
        "steered": {"n": 32, "followed": 1.0, "quality": {"perplexity": 9.5, "facts": None}},
    },
    "samples": [{"query": "Tell me\nabout rivers.", "baseline": "A river.", "steered": '{"river":\n "Aar"}'}],
}


def steering(identity: ModelIdentity = QWEN, **changes: Any) -> Steering:
    record = Record(identity, (instructions.get("json").to_dict(),), "distilled", measurements=MEASURED)
    return Steering("json", (Edit.add(2, torch.ones(4)),), dataclasses.replace(record, **changes))


def test_the_hub_reads_its_front() -> None:
    card = ModelCard(model_card(steering(), "me/json", "apache-2.0"))
    assert card.data.library_name == "trimtab"
    assert card.data.base_model == "Qwen/Qwen3-0.6B"
    assert card.data.license == "apache-2.0"
    assert {"activation-steering", "json"} <= set(card.data.tags)
    bare = ModelCard(model_card(steering(dataclasses.replace(QWEN, id="nano")), "me/json"))
    assert bare.data.license is None
    assert bare.data.base_model is None


def test_people_read_what_was_measured_how_to_use_it_and_its_limits() -> None:
    card = model_card(steering().when(Matches("river")), "me/json")
    for words in (
        "- **Model:** Qwen/Qwen3-0.6B@abc (qwen3, 28 blocks of width 4)",
        "- **Instruction:** `json`",
        "- **Acts only if** the prompt matches /river/",
        "- **Block 2:** adds a vector of norm 2",
        'trimtab.Steering.from_pretrained("me/json")',
        "with steering.on(model):",
        'trimtab generate --model Qwen/Qwen3-0.6B --steering me/json "',
        '{"hub": "me/json"}',
        '"model": "Qwen/Qwen3-0.6B:json"',
        "| prompts | condition | number | followed | perplexity |\n|---|---|---:|---:|---:|\n",
        "| validation | instructed | 48 | 1 | – |",
        "| validation | steered | 48 | 0.958 | – |",
        "| test | baseline | 32 | 0 | 8.12 |",
        "| test | steered | 32 | 1 | 9.5 |",
        '**Tell me about rivers.**\n\n*baseline*\n\n> A river.\n\n*steered*\n\n> {"river":\n>  "Aar"}',
        "## Limits",
    ):
        assert words in card, words
    assert "did not do better" not in card


def test_quality_out_of_bounds_is_said() -> None:
    quality = {
        "perplexity": 3.0,
        "repetition": 0.4,
        "tokens": 30.0,
        "scorer_perplexity": 9.0,
        "relevance": 0.1,
    }
    validation = {
        "n": 24,
        "followed": 0.9,
        "baseline_followed": 0.1,
        "quality": quality,
        "within": False,
        "out_of_bounds": ["repetition 0.4 above 0.05"],
    }
    test = {"steered": {"n": 32, "followed": 1.0, "out_of_bounds": ["relevance 0.1 below 0.3"]}}
    bad = steering(measurements={"validation": validation, "test": test, "samples": []})
    assert bad.record.out_of_bounds == {
        "validation": ["repetition 0.4 above 0.05"],
        "test": ["relevance 0.1 below 0.3"],
    }
    card = model_card(bad, "me/json")
    for words in (
        "| followed | perplexity | repetition | tokens | perplexity under the scorer | relevance |",
        "| validation | baseline | 24 | 0.1 | – | – | – | – | – |",
        "| validation | steered | 24 | 0.9 | 3 | 0.4 | 30 | 9 | 0.1 |",
        "**Quality is out of bounds on validation, beside plain answers: repetition 0.4 above 0.05.**",
        "**Quality is out of bounds on test, beside plain answers: relevance 0.1 below 0.3.**",
    ):
        assert words in card, words
    assert (
        "warning        on validation, quality is out of bounds: repetition 0.4 above 0.05" in bad.describe()
    )
    good = steering(
        measurements={"validation": {**validation, "within": True, "out_of_bounds": []}, "odd": 3}
    )
    assert good.record.out_of_bounds == {}
    assert "out of bounds" not in model_card(good, "me/json") + good.describe().replace("out_of_bounds", "")


def test_edits_that_act_at_different_times_say_when_each_does() -> None:
    card = model_card(steering().when(Matches("river")) + steering().when(Matches("sea")), "me/json")
    for words in (
        "- **(1) only if** the prompt matches /river/",
        "- **(2) only if** the prompt matches /sea/",
        "- **Block 2:** adds a vector of norm 2, if (2)",
    ):
        assert words in card, words
    assert "Acts only if" not in card


def test_measurements_of_another_shape_are_left_out() -> None:
    card = model_card(steering(measurements={"test": {"n": 2, "followed": 1.0, "quality": 3}}), "x")
    assert "| test | steered | 2 | 1 |" in card


def test_the_folder_one_stands_in_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json").mkdir()
    monkeypatch.chdir(tmp_path / "json")
    steering().save_pretrained(".")
    card = Path("README.md").read_text()
    assert f"--steerings {tmp_path}\n" in card
    assert 'B:json"' in card


def test_what_is_not_known_is_not_said() -> None:
    card = model_card(steering(instructions=({"name": "of_a_package", "params": {}},), measurements={}), "x")
    assert "Nothing was measured yet" in card
    assert "Samples" not in card
    assert "**Instruction" not in card
    worse = model_card(steering(measurements={**MEASURED, "improved": False}), "x")
    assert "did not do better" in worse


def test_it_lies_beside_the_files_and_follows_them(tmp_path: Path) -> None:
    folder = steering().save_pretrained(tmp_path / "json", license="mit")
    assert {path.name for path in folder.iterdir()} == {"README.md", "steering.json", "steering.safetensors"}
    assert Steering.load(folder).digest() == steering().digest()
    (2 * steering()).save_pretrained(folder)
    card = (folder / "README.md").read_text()
    assert "adds a vector of norm 4" in card
    assert "license: mit" in card
    assert f'from_pretrained("{folder}")' in card
    assert f"--steerings {tmp_path}\n" in card


def test_a_card_of_somebodys_own_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    steering().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.md").write_text("mine")
    with pytest.raises(SteeringError, match=r"holds something else \(notes\.md\)"):
        steering().save_pretrained(tmp_path / "other")
    assert not (tmp_path / "other" / "README.md").exists()


def test_no_card_goes_stale_when_the_files_are_saved_alone(tmp_path: Path) -> None:
    steering().save_pretrained(tmp_path)
    (3 * steering()).save(tmp_path)
    assert "adds a vector of norm 6" in (tmp_path / "README.md").read_text()


def test_shares_that_are_a_judges_are_said_to_be() -> None:
    measured = {
        "validation": {"n": 4, "followed": 0.5, "judges": {"formal": "wise"}},
        "test": {"steered": {"n": 4, "followed": 0.5, "judge": "wiser"}},
    }
    judged = steering(measurements=measured)
    assert judged.record.judges == ("wise", "wiser")
    assert "No program checks this: what follows was judged by wise, wiser" in model_card(judged, "me/formal")
    assert steering().record.judges == ()
    assert "No program" not in model_card(steering(), "me/json")
