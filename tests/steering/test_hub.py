"""Steerings on the Hub: sent, fetched, and what is said when the Hub refuses, against a stand-in of its API."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from tests.evaluate.fakes import IDENTITY
from tests.steering.hub_stand_in import TOKEN, Hub
from tests.steering.test_when import RIVER, steering

from trimtab.errors import SteeringError
from trimtab.steering import hub as hub_module
from trimtab.steering.record import ModelIdentity
from trimtab.steering.steering import Steering

FILES = {"steering.json", "steering.safetensors", "README.md"}


def pushed(**options: object) -> Steering:
    sent = steering("json").when(RIVER)
    sent.push_to_hub("me/json", token=TOKEN, **options)  # type: ignore[arg-type]
    return sent


def test_what_is_sent_comes_back(hub: Hub) -> None:
    sent = steering("json").when(RIVER)
    url = sent.push_to_hub("me/json", token=TOKEN, private=True, commit_message="first", license="mit")
    repository = hub.repositories["me/json"]
    assert url == f"{hub.address}/me/json/commit/{repository.references['main']}"
    assert (repository.private, repository.messages) == (True, ["initial commit", "first"])
    assert set(repository.files()) == {*FILES, ".gitattributes"}
    card = repository.files()["README.md"].decode()
    assert "license: mit" in card
    assert 'from_pretrained("me/json")' in card
    again = Steering.from_pretrained("me/json", token=TOKEN, model=IDENTITY)
    assert again.digest() == sent.digest()
    assert not [line for line in hub.requests if line.startswith("GET") and "README" in line]


def test_what_was_fetched_stays(hub: Hub, tmp_path: Path) -> None:
    sent = pushed()
    Steering.from_pretrained("me/json")
    asked = len(hub.requests)
    assert Steering.from_pretrained("me/json", local_files_only=True).digest() == sent.digest()
    assert len(hub.requests) == asked
    hub.failing = 503
    assert Steering.from_pretrained("me/json").digest() == sent.digest()
    with pytest.raises(SteeringError, match="'me/json' cannot be fetched from the Hub"):
        Steering.from_pretrained("me/json", cache_dir=tmp_path / "another", local_files_only=True)


def test_revisions_branches_and_pull_requests(hub: Hub) -> None:
    first = pushed()
    first_commit = hub.repositories["me/json"].references["main"]
    second = steering("json", block=2)
    second.push_to_hub("me/json", token=TOKEN)
    third = steering("json", block=3)
    third.push_to_hub("me/json", token=TOKEN, revision="trial")
    url = steering("json", block=0).push_to_hub("me/json", token=TOKEN, create_pr=True)
    assert url == f"{hub.address}/me/json/discussions/1"
    for revision, expected in ((None, second), (first_commit, first), ("trial", third)):
        assert Steering.from_pretrained("me/json", revision=revision).digest() == expected.digest()


def test_of_another_model_it_is_refused_or_moved(hub: Hub) -> None:
    pushed()
    other = ModelIdentity("other", None, "FakeForCausalLM", 4, IDENTITY.width, "plain")
    with pytest.raises(SteeringError, match="the names differ"):
        Steering.from_pretrained("me/json", model=other)
    moved = Steering.from_pretrained("me/json", model=other, allow_other_model=True)
    assert moved.record.model == other


def test_what_the_hub_refuses_is_one_line(hub: Hub) -> None:
    pushed(private=True)
    with pytest.raises(SteeringError, match="there is no 'me/json' on the Hub"):
        Steering.from_pretrained("me/json")
    with pytest.raises(SteeringError, match="there is no 'me/nothing' on the Hub"):
        Steering.from_pretrained("me/nothing", token=TOKEN)
    with pytest.raises(SteeringError, match="'me/json' has no revision 'v9' on the Hub"):
        Steering.from_pretrained("me/json", revision="v9", token=TOKEN)
    hub.repositories["me/json"].private = False
    hub.repositories["me/json"].gated = True
    with pytest.raises(SteeringError, match="'me/json' is gated: accept its terms"):
        Steering.from_pretrained("me/json")
    hub.repositories["me/json"].commit({"steering.json": b"{"}, "damage")
    with pytest.raises(SteeringError, match=r"me/json/steering\.json is not valid JSON") as caught:
        Steering.from_pretrained("me/json", token=TOKEN)
    assert "cache" not in str(caught.value)


@pytest.mark.parametrize("token", ["hf_wrong-secret", "hf_with-\n-a-line-break"])
def test_a_token_is_never_told(hub: Hub, caplog: pytest.LogCaptureFixture, token: str) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SteeringError, match="'me/json' cannot be written to on the Hub") as caught:
        steering().push_to_hub("me/json", token=token)
    with pytest.raises(SteeringError) as fetched:
        Steering.from_pretrained("me/json", token=token)
    for error in (caught.value, fetched.value):
        assert "secret" not in str(error)
        assert "line-break" not in str(error)
        assert "\n" not in str(error)
        assert error.__cause__ is None
        assert error.__suppress_context__
    assert "secret" not in caplog.text


def test_without_a_network_it_says_so(monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SteeringError, match="'me/json' cannot be fetched from the Hub"):
        Steering.from_pretrained("me/json")
    with pytest.raises(SteeringError, match="'me/json' cannot be written to on the Hub: ConnectError"):
        steering().push_to_hub("me/json", token=TOKEN)


def test_a_name_that_no_folder_can_have_is_one_line() -> None:
    for name in ("a" * 300, "\0"):
        with pytest.raises(SteeringError, match=r"cannot read|there is no folder"):
            Steering.from_pretrained(name)


def test_folders_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sent = steering()
    sent.save_pretrained("me/json")
    assert Steering.from_pretrained("me/json").digest() == sent.digest()
    assert Steering.from_pretrained(tmp_path / "me" / "json").digest() == sent.digest()
    for missing in ("me/jsno", "nothing", "./a/b", "a/b/c", tmp_path / "x"):
        with pytest.raises(SteeringError, match="there is no folder"):
            Steering.from_pretrained(missing)
    assert hub_module.named("you/json")
    assert torch.equal(Steering.load("me/json").edits[0].u, sent.edits[0].u)
