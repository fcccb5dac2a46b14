from __future__ import annotations

import json
import platform
from collections.abc import Callable
from typing import Any

import pytest
import torch

import trimtab
from trimtab.cli import doctor
from trimtab.instructions import splitting


@pytest.fixture
def all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_nano", lambda: {"nano-instruct": 9.5, "nano-base": 9.5})


@pytest.mark.usefixtures("all_there")
def test_it_reports_this_machine(run: Callable[..., Any]) -> None:
    result = run("doctor", "--json", "-")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["trimtab"] == trimtab.__version__
    assert found["python"] == platform.python_version()
    assert torch.__version__.startswith(found["packages"]["torch"])  # which may lack the build, "+cu124" say
    assert found["devices"][-1]["device"] == "cpu"
    assert found["threads"]["torch"] == torch.get_num_threads()
    assert found["memory_gib"]["total"] > 0
    assert set(found["extras"]) == set(doctor.EXTRAS)
    assert found["splitter"] == splitting.splitter_name()
    assert found["problems"] == []


@pytest.mark.usefixtures("all_there")
def test_a_missing_extra_comes_with_its_command(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "matplotlib" else version(name))
    found = json.loads(run("doctor", "--json", "-").stdout)
    assert found["extras"]["report"] == {
        "missing": ["matplotlib"],
        "install": "pip install 'trimtab[report]'",
    }
    text = " ".join(run("doctor").stdout.split())
    assert "lacks matplotlib: pip install 'trimtab[report]'" in text


@pytest.mark.usefixtures("all_there")
def test_a_missing_core_package_is_a_problem(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "safetensors" else version(name))
    result = run("doctor")
    assert result.exit_code == 1
    assert "problem: safetensors is missing; pip install safetensors" in result.stderr


def test_missing_weights_are_a_problem(run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_nano", lambda: {"nano-instruct": None, "nano-base": None})
    result = run("doctor", "--quiet")
    assert (result.exit_code, result.output) == (1, "")


def test_nothing_is_lost_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(doctor.Path, "read_text", missing)
    memory = doctor._memory()
    assert memory["available"] is None
    assert memory["total"] is None or memory["total"] > 0
