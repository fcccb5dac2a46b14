"""A steering goes to the Hub from the command line, and commands take it from there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.steering.hub_stand_in import TOKEN, Hub

from trimtab.steering.steering import Steering

Run = Callable[..., Any]


@pytest.fixture
def pushed(run: Run, hub: Hub, steering_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return run("push", steering_folder, "me/json", "--private", "--message", "first", "--json", "-")


def test_a_steering_is_pushed_with_its_card(pushed: Any, hub: Hub, steering_folder: Path) -> None:
    assert pushed.exit_code == 0, pushed.output
    repository = hub.repositories["me/json"]
    assert (repository.private, repository.messages[-1]) == (True, "first")
    answer = json.loads(pushed.stdout)
    assert answer["url"].endswith(f"/me/json/commit/{repository.references['main']}")
    assert answer["digest"] == Steering.load(steering_folder).digest()
    assert b'from_pretrained("me/json")' in repository.files()["README.md"]


def test_the_users_own_card_is_sent_and_nothing_else_of_the_folder(
    run: Run, pushed: Any, hub: Hub, steering_folder: Path
) -> None:
    (steering_folder / "README.md").write_text("mine")
    (steering_folder / "directions.json").write_text("{}")
    result = run("push", steering_folder, "me/json", "--revision", "v2")
    assert result.exit_code == 0, result.output
    assert set(hub.repositories["me/json"].files("v2")) == {
        ".gitattributes",
        "README.md",
        "steering.json",
        "steering.safetensors",
    }
    assert hub.repositories["me/json"].files("v2")["README.md"] == b"mine"


@pytest.mark.usefixtures("pushed")
def test_the_license_of_the_card_beside_it_is_kept(run: Run, hub: Hub, steering_folder: Path) -> None:
    Steering.load(steering_folder).save_pretrained(steering_folder, license="mit")
    for options, license_name in (((), b"mit"), (("--license", "bsd"), b"bsd")):
        assert run("push", steering_folder, "me/json", *options).exit_code == 0
        assert b"license: " + license_name in hub.repositories["me/json"].files()["README.md"]


@pytest.mark.usefixtures("pushed")
def test_commands_take_a_name_of_the_hub(
    run: Run, model_folder: Path, steering_folder: Path, tmp_path: Path
) -> None:
    here = run("inspect", steering_folder, "--json", "-")
    there = run("inspect", "me/json@main", "--json", "-")
    assert json.loads(there.stdout) == json.loads(here.stdout)
    asked = ("what is the river ?", "-m", model_folder, "--max-new-tokens", 4)
    answers = [run("generate", *asked, "-s", place).stdout for place in ("me/json", steering_folder)]
    assert answers[0] == answers[1] != ""
    refused = run("when", "me/json", "--matching", "river")
    assert refused.exit_code == 2
    assert "me/json is on the Hub" in " ".join(refused.stderr.replace("│", " ").split())
    assert run("when", "me/json", "--matching", "river", "--out", tmp_path / "when").exit_code == 0
    assert len(Steering.load(tmp_path / "when").whens) == 1


@pytest.mark.parametrize(
    ("repo", "words"),
    [("json", "owner/name, not 'json'"), ("a/b/c", "owner/name"), ("me/json", "log in with")],
)
def test_what_cannot_be_pushed_is_one_line(
    run: Run, hub: Hub, steering_folder: Path, repo: str, words: str
) -> None:
    result = run("push", steering_folder, repo)
    assert result.exit_code == 2
    assert words in result.stderr
    assert not hub.repositories
