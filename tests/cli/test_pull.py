"""`trimtab pull`, and the commands and doors that take a name of the Hub: online, offline, private, gated."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.steering.hub_stand_in import TOKEN, Hub, Repository

from trimtab.errors import SteeringError
from trimtab.steering.steering import Steering

Run = Callable[..., Any]


@pytest.fixture
def digest(hub: Hub, steering_folder: Path) -> str:
    """Of what is `me/shout` on the Hub: a second version on the main branch, the first one as `v1`."""
    steering = Steering.load(steering_folder)
    (steering * 2.0).push_to_hub("me/shout", token=TOKEN)
    repository = hub.repositories["me/shout"]
    repository.references["v1"] = repository.references["main"]
    steering.push_to_hub("me/shout", token=TOKEN, license="mit")
    return steering.digest()


def said(result: Any) -> str:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return str(result.stderr)


def test_a_steering_is_pulled_with_its_card(run: Run, hub: Hub, digest: str, tmp_path: Path) -> None:
    result = run("pull", "me/shout", "--out", tmp_path / "here", "--json", "-")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert (answer["digest"], answer["commit"]) == (digest, hub.repositories["me/shout"].references["main"])
    assert Steering.load(tmp_path / "here").digest() == digest
    assert "license: mit" in (tmp_path / "here" / "README.md").read_text()
    (tmp_path / "here" / "README.md").write_text("mine")
    assert run("pull", "me/shout@v1", "--out", tmp_path / "here").exit_code == 0
    assert Steering.load(tmp_path / "here").digest() != digest
    assert (tmp_path / "here" / "README.md").read_text() == "mine"


@pytest.mark.usefixtures("digest")
def test_what_cannot_be_pulled_is_one_line(run: Run, hub: Hub, tmp_path: Path) -> None:
    def pull(name: str) -> str:
        return said(run("pull", name, "--out", tmp_path / "out"))

    assert "owner/name or owner/name@revision, not 'shout'" in pull("shout")
    assert "there is no 'me/shuot' on the Hub (or it is private)" in pull("me/shuot")
    assert "'me/shout' has no revision 'v9'" in pull("me/shout@v9")
    hub.repositories["me/shout"].commit({"steering.json": b"{"}, "damage")
    assert "me/shout/steering.json is not valid JSON" in pull("me/shout")
    hub.repositories["me/shout"].commits = {"1": {"model.safetensors": b""}}
    hub.repositories["me/shout"].references["main"] = "1"
    assert "is no steering: it lacks steering.json and steering.safetensors" in pull("me/shout")
    hub.repositories["me/gated"] = Repository(gated=True)
    hub.repositories["me/gated"].commit({"steering.json": b"{}"}, "first")
    assert "'me/gated' is gated: accept its terms" in pull("me/gated")
    assert not (tmp_path / "out").exists()


def test_a_private_repository_takes_the_token(
    run: Run, hub: Hub, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["me/shout"].private = True
    assert "or it is private" in said(run("pull", "me/shout", "--out", tmp_path / "out"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert run("pull", "me/shout", "--out", tmp_path / "out").exit_code == 0
    assert Steering.load(tmp_path / "out").digest() == digest


def test_offline_what_was_fetched_is_taken(
    run: Run, hub: Hub, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    assert run("inspect", "me/shout").exit_code == 0
    asked = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert run("pull", "me/shout", "--out", tmp_path / "out").exit_code == 0
    assert Steering.load(tmp_path / "out").digest() == digest
    assert Steering.from_pretrained("me/shout@main").digest() == digest
    for command in (("pull", "me/other", "--out", tmp_path / "no"), ("inspect", "me/shout@v1")):
        message = said(run(*command))
        assert "HF_HUB_OFFLINE is set, and it is not in the cache" in message
        assert str(tmp_path / "cache") in message
    assert "HF_HUB_OFFLINE is set; unset it" in said(run("push", tmp_path / "out", "me/new"))
    assert len(hub.requests) == asked


@pytest.mark.usefixtures("digest")
def test_every_command_takes_a_name_of_the_hub(
    run: Run, hub: Hub, model_folder: Path, steering_folder: Path, tmp_path: Path
) -> None:
    model = ("--model", model_folder)
    commands: list[tuple[object, ...]] = [
        ("bake", "me/shout", *model, "--out", tmp_path / "baked", "--check", 0),
        ("export", "me/shout", "--format", "lm-eval", "--out", tmp_path / "shout.pt"),
        ("when", "me/shout", "--matching", "river", "--out", tmp_path / "when"),
        (
            "generate",
            *model,
            "--steering",
            "me/shout@v1,me/shout",
            "--max-new-tokens",
            2,
            "what is the river ?",
        ),
    ]
    for command in commands:
        result = run(*command)
        assert result.exit_code == 0, (command[0], result.output)
    for command in (
        ("compose", "me/nothing", steering_folder, *model, "--out", tmp_path / "c"),
        ("tune", "me/nothing", *model, "--out", tmp_path / "t"),
        ("evaluate", *model, "--steering", "me/nothing"),
        ("follow", "--steering", "me/nothing", *model, "--instructions", "uppercase", "what is the river ?"),
        ("transfer", "me/nothing", *model, "--out", tmp_path / "m"),
    ):
        result = run(*command)
        assert "there is no 'me/nothing' on the Hub" in result.stderr, (command[0], result.output)


def test_revisions_in_the_name(digest: str) -> None:
    assert Steering.from_pretrained("me/shout@main").digest() == digest
    first = Steering.from_pretrained("me/shout@v1").digest()
    assert first == Steering.from_pretrained("me/shout", revision="v1").digest() != digest
    with pytest.raises(SteeringError, match="names a revision, and so does"):
        Steering.from_pretrained("me/shout@v1", revision="main")
