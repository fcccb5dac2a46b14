"""The commands with `--engine vllm`: what they print and save is what they do with transformers.

One runs as a user runs it, in a process of its own that must leave none behind; the others share one engine.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner

import trimtab
from trimtab.cli.app import app
from trimtab.errors import ModelError
from trimtab.steering.steering import Steering
from trimtab.vllm.engine import VllmEngine

# What vLLM and what it imports warn of is not ours to mend.
pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture
def both(nano: VllmEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, Any]]:
    """Runs a command with vLLM, which must then be closed, and with transformers; gives what both say as JSON."""
    load, closed = trimtab.load, []

    def fake(name: Any, *, engine: str = "transformers", **options: Any) -> Any:
        return nano if engine == "vllm" else load(name, **options)

    monkeypatch.setattr(trimtab, "load", fake)
    monkeypatch.setattr(nano, "close", lambda: closed.append(True))
    monkeypatch.chdir(tmp_path)

    def run(command: str, exits: int | None = 0) -> tuple[Any, Any]:
        found = []
        for engine in ("vllm", "transformers"):
            words = shlex.split(command.replace("OUT", engine))
            result = CliRunner().invoke(app, [*words, "--engine", engine, "--json", f"{engine}.json"])
            assert result.exit_code in ((exits,) if exits is not None else (0, 1)), result.output
            found.append(json.loads(Path(f"{engine}.json").read_text(encoding="utf-8")))
        assert closed == [True]
        closed.clear()
        return found[0], found[1]

    return run


@pytest.fixture
def lowercase(tmp_path: Path) -> Path:
    """A steering, learned with transformers."""
    command = (
        "learn lowercase --method mean_difference --block 2 --strength 2 --apply add --pairs 16 --quiet -o"
    )
    result = CliRunner().invoke(app, [*command.split(), str(tmp_path / "steering")])
    assert result.exit_code == 0, result.output
    return tmp_path / "steering"


def _measured(rows: list[dict[str, Any]], *names: str) -> list[Any]:
    return [tuple(row[name] for name in names) for row in rows]


def test_learn(both: Callable[..., tuple[Any, Any]]) -> None:
    vllm, plain = both(
        "learn lowercase --method mean_difference --pairs 8 --validation 3 --blocks 1,2 --max-new-tokens 24 -o OUT"
    )
    names = ("application", "block", "strength", "n", "followed")
    assert [{name: one[name] for name in names} for one in vllm["candidates"]] == [
        {name: one[name] for name in names} for one in plain["candidates"]
    ]
    learned, expected = Steering.load("vllm"), Steering.load("transformers")
    assert learned.record.model == expected.record.model
    for one, two in zip(learned.edits, expected.edits, strict=True):
        assert (one.block, one.tokens) == (two.block, two.tokens)
        assert float((one.u - two.u).norm()) <= 1e-4 * float(two.u.norm())
        assert one.alpha == pytest.approx(two.alpha, rel=1e-4)


def test_tune(both: Callable[..., tuple[Any, Any]], lowercase: Path) -> None:
    vllm, plain = both(
        f"tune {lowercase} --strength-only --validation 3 --strengths 0.5,1 --max-new-tokens 24"
    )
    for found in (vllm, plain):
        found.pop("seconds")
        assert found["settings"].pop("model")
    assert _same(vllm, plain)
    assert len(vllm["candidates"]) == 2


def _same(one: Any, two: Any) -> bool:
    """Equal but for rounding in the numbers."""
    if isinstance(one, float) and isinstance(two, float):
        return one == pytest.approx(two, abs=1e-3, nan_ok=True)
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(_same(one[key], two[key]) for key in one)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(_same, one, two))
    return bool(one == two)


def test_evaluate(both: Callable[..., tuple[Any, Any]], lowercase: Path) -> None:
    command = f"evaluate -s {lowercase} --limit 3 --max-new-tokens 24 --cache OUT-answers"
    vllm, plain = both(command)
    for found in (vllm, plain):
        assert found.pop("new_answers") == len(found["answers"])
        del found["seconds"]
    assert _same(vllm, plain)
    result = CliRunner().invoke(
        app, shlex.split(command.replace("OUT", "vllm") + " --engine vllm --quiet --json -")
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["new_answers"] == 0  # all of it was kept


def test_follow(both: Callable[..., tuple[Any, Any]], lowercase: Path) -> None:
    Path("prompts.txt").write_text("What is Ashley?\nWhere is the river?\n", encoding="utf-8")
    vllm, plain = both(
        f"follow --prompts prompts.txt -s {lowercase} -i lowercase --budget 4 --max-new-tokens 24", exits=None
    )
    assert vllm == plain
    assert vllm["tokens"] > 0


def test_generate_beside_the_unsteered_answers(both: Callable[..., tuple[Any, Any]], lowercase: Path) -> None:
    Path("prompts.txt").write_text("What is Ashley?\nWhere is the river?\n", encoding="utf-8")
    vllm, plain = both(f"generate --prompts prompts.txt --compare -s {lowercase} --max-new-tokens 24")
    assert vllm == plain
    for plain_row, steered_row in zip(vllm["responses"][::2], vllm["responses"][1::2], strict=True):
        assert plain_row["response"] != steered_row["response"]


def test_demo(both: Callable[..., tuple[Any, Any]]) -> None:
    """vLLM gives no gradients: there, the mean difference stands alone, and the demo says so."""
    command = "demo -i lowercase --pairs 8 --validation 3 --test 3 --steps 2 --max-new-tokens 24 -o OUT"
    vllm, plain = both(command)
    by = {row["condition"]: row for row in vllm["rows"]}
    assert by["steered"]["method"] == "mean_difference"
    assert len(vllm["rows"]) == 4
    for condition in ("baseline", "instructed"):
        [same] = [row for row in plain["rows"] if row["condition"] == condition]
        assert _same(by[condition], same)
    assert (Path("vllm") / "report.html").is_file()
    saved = [Steering.load(path.parent).record.method for path in Path("vllm").rglob("steering.json")]
    assert saved == ["mean_difference"]
    result = CliRunner().invoke(app, shlex.split(command.replace("OUT", "again") + " --engine vllm"))
    assert "no gradients" in result.stderr


class TestMistakes:
    """Refused before vLLM is started."""

    @pytest.mark.parametrize(
        ("command", "reason"),
        [
            ("learn json -o out --engine vllm", "distill needs gradients"),
            ("generate hi --engine vllm --device cuda", "CUDA_VISIBLE_DEVICES"),
            ("generate hi --engine vllm --engine-options [1]", "takes a JSON object"),
            ("""generate hi --engine vllm --engine-options '{"dtype": "half"}'""", "as --dtype"),
            (
                """generate hi --engine-options '{"max_model_len": 3}'""",
                "no option max_model_len for the transformers",
            ),
            ("generate hi --engine llamacpp", "llamacpp"),
        ],
    )
    def test_one_sentence_and_exit_2(
        self, command: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        result = CliRunner().invoke(app, shlex.split(command))
        assert result.exit_code == 2, result.output
        assert reason in " ".join(result.stderr.replace("│", " ").split())

    def test_an_option_that_vllm_does_not_have(self) -> None:
        result = CliRunner().invoke(
            app, ["generate", "hi", "--engine", "vllm", "--engine-options", '{"no_such_option": 1}']
        )
        assert result.exit_code == 2, result.output
        assert "no_such_option" in result.stderr


def test_as_a_user_runs_it(tmp_path: Path) -> None:
    """In a process of its own, of which none is left; the result alone is on standard output."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name in ("VLLM_LOGGING_LEVEL", "VLLM_CPU_KVCACHE_SPACE"):
        environment.pop(name, None)
    steering = tmp_path / "steering"
    command = "learn lowercase --method mean_difference --block 2 --strength 2 --apply add --pairs 8 --quiet --json -"
    command += f" --out {steering} --engine vllm --engine-options"
    options = json.dumps({"enforce_eager": True, "max_num_seqs": 16})
    with subprocess.Popen(
        [sys.executable, "-m", "trimtab", *command.split(), options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    psutil.wait_procs(_of_session(process.pid), timeout=30)  # Python's own tracker of resources goes last
    assert not _of_session(process.pid)
    assert json.loads(output)["digest"] == Steering.load(steering).digest()


def _of_session(leader: int) -> list[psutil.Process]:
    """The processes that were started, at whatever remove, by the leader of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, ProcessLookupError):
            continue
    return found


def test_closing_ends_all_processes(nano: VllmEngine) -> None:
    """The last of those that share the engine: it is gone after this."""
    processes = [
        process
        for process in psutil.Process().children(recursive=True)
        if "resource_tracker" not in " ".join(process.cmdline())
    ]
    assert processes
    nano.close()
    nano.close()
    assert not [process for process in processes if process.is_running()]
    for call in (
        lambda: nano.generate(["hi"]),
        lambda: nano.capture(["hi"]),
        lambda: nano.score(["hi"], ["a"]),
        lambda: next(nano.stream("hi")),
    ):
        with pytest.raises(ModelError, match="this engine is closed"):
            call()
