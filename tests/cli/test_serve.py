from __future__ import annotations

import itertools
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.tiny_gguf import tiny_gguf

from trimtab.vllm.server.launch import Launch
from trimtab.vllm.settings import SteeringSettings


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Launch]:
    """What would have been started; vLLM is said to be there."""
    starts: list[Launch] = []
    monkeypatch.setattr("trimtab.vllm.find_spec", lambda name: object())
    monkeypatch.setattr(Launch, "start", lambda self: starts.append(self))
    return starts


def test_serving_starts_what_was_planned(
    run: Callable[..., Any], started: list[Launch], steering_folder: Path
) -> None:
    result = run("serve", "nano", "--steerings", steering_folder.parent, "--", "--max-model-len", 512)
    assert result.exit_code == 0
    (launched,) = started
    assert launched.command[-2:] == ("--max-model-len", "512")
    config = json.loads(launched.command[launched.command.index("--additional-config") + 1])
    assert SteeringSettings(**config["trimtab"]) == SteeringSettings(steerings=str(steering_folder.parent))
    assert "shout" in result.stderr
    assert result.stdout == ""


def test_settings_reach_the_server(run: Callable[..., Any], started: list[Launch]) -> None:
    options = ("--gates", 9, "--limit", 20, "--limit-mib", 3, "--table-dtype", "float32")
    assert run("serve", "nano", "--engine", "vllm", *options).exit_code == 0
    (launched,) = started
    config = json.loads(launched.command[launched.command.index("--additional-config") + 1])
    assert SteeringSettings(**config["trimtab"]) == SteeringSettings(
        gates=9, limit=20, limit_mib=3, table_dtype="float32"
    )
    for option, wrong in (("--gates", 65), ("--limit", 0), ("--limit-mib", 0), ("--table-dtype", "int8")):
        result = run("serve", "nano", option, wrong)
        assert result.exit_code == 2
        assert option in result.stderr


def test_quiet_says_nothing(run: Callable[..., Any], started: list[Launch]) -> None:
    assert run("serve", "nano", "--engine", "vllm", "--quiet").output == ""
    assert len(started) == 1


def test_showing_starts_nothing(run: Callable[..., Any], started: list[Launch]) -> None:
    shown = shlex.split(run("serve", "nano", "--port", 9, "--show").stdout)
    assert started == []
    assert shown[shown.index("--port") + 1] == "9"
    assert any(part.startswith("VLLM_PLUGINS=") for part in shown)


def test_a_mistake_is_one_line(run: Callable[..., Any], started: list[Launch]) -> None:
    result = run("serve", "nano", "--", "--api-server-count", 2)
    assert (result.exit_code, started) == (2, [])
    assert result.stderr.startswith("error: --api-server-count must be 1")
    assert result.stderr.count("\n") == 1


def test_a_gguf_file_is_served_from_a_folder(
    run: Callable[..., Any], started: list[Launch], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIMTAB_CACHE", str(tmp_path / "cache"))
    file = tiny_gguf(tmp_path / "tiny.gguf")
    assert run("serve", file, "--engine", "vllm").exit_code == 0
    assert run("serve", tmp_path, "--gguf-file", file.name, "--", "--dtype", "bfloat16").exit_code == 0
    for launched, dtype in zip(started, ("float32", "bfloat16"), strict=True):
        given = dict(itertools.pairwise(launched.command))
        folder = Path(given["--model"])
        assert folder.name == given["--served-model-name"] == "tiny.gguf"
        assert json.loads((folder / "config.json").read_text())["dtype"] == dtype


def test_template_options_reach_identity_and_requests(run: Callable[..., Any], started: list[Launch]) -> None:
    assert run("serve", "nano", "--engine", "vllm", "--template-options", '{"message": 1}').exit_code == 0
    given = dict(itertools.pairwise(started[0].command))
    assert json.loads(given["--default-chat-template-kwargs"]) == {"message": 1}
    assert json.loads(given["--additional-config"])["trimtab"]["template_options"] == {"message": 1}


def test_steerings_of_the_hub_are_served_beside_folders(
    run: Callable[..., Any],
    started: list[Launch],
    hub: Any,
    steering_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from tests.steering.hub_stand_in import TOKEN

    from trimtab.engines import published
    from trimtab.steering.collection import SteeringFolder
    from trimtab.steering.steering import Steering

    monkeypatch.setenv(published.CACHE, str(tmp_path / "kept"))
    Steering.load(steering_folder).push_to_hub("me/loud", token=TOKEN)
    for given in ("me/loud", f"me/loud@main,{steering_folder.parent}", f"{steering_folder},me/loud"):
        result = run("serve", "nano", "--engine", "vllm", "--steerings", given)
        assert result.exit_code == 0, result.output
        config = json.loads(started[-1].command[started[-1].command.index("--additional-config") + 1])
        found = SteeringFolder(config["trimtab"]["steerings"]).places()
        assert set(found) == {"loud"} | ({"shout"} if "," in given else set())
        assert {Steering.load(one).name for one in found.values()} == {"shout"}
    steering_folder.rename(tmp_path / "loud")
    clash = run("serve", "nano", "--engine", "vllm", "--steerings", f"{tmp_path / 'loud'},me/loud")
    assert clash.exit_code == 2
    assert "would both be served as 'loud'" in clash.stderr
