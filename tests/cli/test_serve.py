from __future__ import annotations

import itertools
import json
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.ports import free_port
from tests.tiny_gguf import tiny_gguf

from trimtab import nano
from trimtab.server import starting
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


# --- in this process -------------------------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The applications that would have been run."""
    apps: list[Any] = []
    monkeypatch.setattr(starting, "run", lambda app, at, quiet: apps.append((app, at.getsockname(), quiet)))
    return apps


def test_without_vllms_options_it_is_served_here(
    run: Callable[..., Any],
    served: list[Any],
    started: list[Launch],
    model_folder: Path,
    steering_folder: Path,
) -> None:
    port = free_port()
    options = (
        "--gates",
        9,
        "--limit",
        20,
        "--max-rows",
        3,
        "--max-tokens",
        100,
        "--timeout",
        5,
        "--api-key",
        "k",
    )
    options += ("--dtype", "bfloat16", "--max-body-mib", 2)
    where = ("--port", port, "--steerings", steering_folder.parent)
    result = run("serve", model_folder, *where, *options)
    assert (result.exit_code, result.stdout, started) == (0, "", [])
    assert "shout" in result.stderr
    assert f"address: http://127.0.0.1:{port}/v1" in result.stderr
    [(app, address, quiet)] = served
    embedded = app.state.embedded
    assert (address, quiet) == (("127.0.0.1", port), False)
    assert embedded.backend.name == "tiny"
    assert embedded.serving.library.names() == ["shout"]
    assert (embedded.serving.library.gates, embedded.serving.library.limit) == (9, 20)
    assert (embedded.limits.rows, embedded.limits.tokens, embedded.limits.seconds) == (3, 100, 5)
    assert embedded.limits.body_bytes == 2 * 2**20
    assert str(embedded.engine.model.dtype) == "torch.bfloat16"
    assert embedded.serving.has_key
    assert embedded.serving.may_change


def test_the_built_in_model_brings_its_own_steerings(run: Callable[..., Any], served: list[Any]) -> None:
    result = run("serve", "nano", "--port", free_port(), "--no-page")
    assert result.exit_code == 0, result.stderr
    assert "steerings: bullets, exclude-wood, include-dragon" in result.stderr
    [(app, _, _)] = served
    assert app.state.embedded.serving.library.names() == sorted(nano.steerings())


def test_the_key_may_come_from_the_environment(
    run: Callable[..., Any],
    served: list[Any],
    started: list[Launch],
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRIMTAB_API_KEY", "secret")
    assert run("serve", model_folder, "--host", "0.0.0.0", "--port", free_port()).exit_code == 0
    assert served[0][0].state.embedded.serving.has_key
    assert run("serve", "nano", "--engine", "vllm").exit_code == 0
    assert started[0].environment["VLLM_API_KEY"] == "secret"
    assert "secret" not in " ".join(started[0].command)


def test_nobody_else_is_let_in_without_a_key(
    run: Callable[..., Any], served: list[Any], model_folder: Path
) -> None:
    result = run("serve", model_folder, "--host", "0.0.0.0", "--port", free_port())
    assert (result.exit_code, served) == (2, [])
    assert result.stderr.startswith(
        "error: at 0.0.0.0 other machines reach this server, and it has no API key"
    )
    assert run("serve", model_folder, "--api-key", "").exit_code == 2
    nowhere = run("serve", model_folder, "--host", "", "--no-api-key")
    assert (nowhere.exit_code, served) == (2, [])
    assert nowhere.stderr.startswith("error: --host is empty, which is no address; give one (127.0.0.1")
    told = run("serve", model_folder, "--host", "0.0.0.0", "--port", free_port(), "--no-api-key")
    assert (told.exit_code, len(served)) == (0, 1)
    assert not served[0][0].state.embedded.serving.may_change
    assert "clients may not load" in told.stderr


def test_mistakes_show_before_the_model_is_loaded(
    run: Callable[..., Any], served: list[Any], tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("serve", "nano", "--port", port)
    assert (result.exit_code, served) == (2, [])
    assert f"nothing can listen at 127.0.0.1, port {port}" in result.stderr
    assert result.stderr.count("\n") == 1
    assert run("serve", "nano", "--steerings", tmp_path / "none").exit_code == 2
    for options, says in (
        (("--engine", "transformers", "--", "--max-num-seqs", 4), "is for vLLM"),
        (("--engine", "transformers", "--show"), "--show is for vLLM"),
        (("--engine", "vllm", "--device", "cpu"), "--device is not for vLLM, which has CUDA_VISIBLE_DEVICES"),
        (("--max-rows", 4, "--", "--seed", 1), "--max-rows is not for vLLM, which has -- --max-num-seqs N"),
    ):
        result = run("serve", "nano", *options)
        assert result.exit_code == 2
        assert says in " ".join(result.stderr.replace("│", " ").split())


def test_a_server_of_a_gguf_file_answers_and_ends(tmp_path: Path) -> None:
    """As a user starts it: a process, asked over HTTP, that ends by SIGTERM with 0."""
    import httpx

    port = free_port()
    file = tiny_gguf(tmp_path / "tiny.gguf")
    command = [sys.executable, "-m", "trimtab", "serve", str(file), "--port", str(port)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            end = time.monotonic() + 120
            while time.monotonic() < end and process.poll() is None:
                try:
                    assert httpx.get(f"http://127.0.0.1:{port}/health").json()["model"] == "tiny.gguf"
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            body = {"messages": [{"role": "user", "content": "Who?"}], "max_tokens": 3}
            answer = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=60)
        finally:
            process.terminate()
        said = process.communicate(timeout=60)
    assert answer.json()["usage"]["completion_tokens"] <= 3
    assert process.returncode == 0
    assert said[0] == ""
    lines = [line for line in said[1].splitlines() if "/v1/chat/completions" in line]
    assert len(lines) == 1
    assert "Who" not in said[1]
