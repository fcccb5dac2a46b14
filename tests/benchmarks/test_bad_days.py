"""The command that tries bad days: what it finds it tells, and its commands are stopped as it says."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest
from benchmarks.bad_days import __main__ as command
from benchmarks.bad_days import days, process
from benchmarks.bad_days.__main__ import Row, markdown, with_table
from benchmarks.bad_days.days import Day
from benchmarks.bad_days.machines import machines
from benchmarks.bad_days.process import Done
from benchmarks.running import run
from tests.fuzzing import schemas

from trimtab.errors import TrimtabError

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="it forks, and takes capabilities away"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def test_parts_are_tried_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schemas, "SCHEMAS", schemas.SCHEMAS[-1:])
    place, page = tmp_path / "result.json", tmp_path / "page.md"
    page.write_text(
        "before\n<!-- table -->\n| files | suite | 1 | nothing |\n| requests | old | 1 | all |\n<!-- end -->\nafter\n"
    )
    asked = ["--parts", "requests", "--trials", "5", "--json", str(place), "--page", str(page), "-q"]
    assert run(command.command, "bad_days", asked) == 0
    rows = json.loads(place.read_text())["rows"]
    assert {row["part"] for row in rows} == {"requests"}
    assert all(row["times"] >= 3 and not row["wrong"] for row in rows)
    text = page.read_text()
    assert text.startswith("before\n<!-- table -->\n\n| part |")
    assert text.endswith("<!-- end -->\nafter\n")
    assert (
        f"| files | suite | 1 | nothing |\n| requests | --strength | {rows[-1]['times']} | nothing |\n"
        in text
    )
    assert "old" not in text


def test_what_was_wrong_is_told() -> None:
    rows = [Row("files", "suite", 3, ("it hangs\nfor long", "a|b"))]
    assert markdown(rows)[-1] == "| files | suite | 3 | it hangs for long; a\\|b |"
    with pytest.raises(TrimtabError, match="has no place for the table"):
        with_table("no marks", rows)
    assert run(command.command, "bad_days", ["--parts", "fires"]) == 2


@pytest.mark.parametrize(
    ("done", "wrong"),
    [
        (Done(0, "", ""), None),
        (Done(2, "", "error: mend it\n"), None),
        (Done(2, "", "mend it\n"), "no clear line"),
        (Done(1, "", "bad"), "exit code 1: bad"),
        (Done(0, "", "Traceback (most recent call last)\nKeyError: 1"), "a traceback: KeyError: 1"),
    ],
)
def test_how_a_command_ended_is_judged(done: Done, wrong: str | None) -> None:
    found = done.wrong(0, 2)
    assert found is None if wrong is None else found is not None and wrong in found


def test_commands_run_in_processes_of_their_own(tmp_path: Path) -> None:
    done = process.run(["--version"], tmp_path)
    assert (done.code, done.out.startswith("trimtab ")) == (0, True)
    check = ["check", "json", "--responses", "-"]
    assert process.run(check, tmp_path, stdin=b'{"response": "{}"}').code == 0
    assert "standard input is closed" in process.run(["generate", "-"], tmp_path, stdin=None).err
    killed = process.stopped(process.start(check, tmp_path, first=signal.pause), 9, 0.05)
    assert killed.code == -signal.SIGKILL
    lost = process.run(["doctor"], tmp_path, environment={"HOME": None}, first=process.unprivileged)
    assert lost.code in (0, 1)


def test_a_signal_meets_a_new_process(tmp_path: Path) -> None:
    done = process.stopped(process.spawn(["generate", "Why?"], tmp_path), signal.SIGINT, 0.05)
    assert (done.out, done.err) == ("", "interrupted\n")
    assert done.code in (130, -signal.SIGINT)
    assert process.spawn(["--version"], tmp_path).ended().out.startswith("trimtab ")


def test_a_day_is_judged_and_cleared_away(tmp_path: Path) -> None:
    folder = tmp_path / "day"
    assert days.tried(Day("fine", ["--version"]), folder) is None
    wrong = Day("wrong", ["--version"], judge=lambda folder, done: "so it was")
    assert days.tried(wrong, folder) == "so it was"
    assert not folder.exists()
    names = [day.name for day in machines()]
    assert len(names) == len(set(names)) > 80
