from __future__ import annotations

import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import InstructionError, SteeringError
from trimtab.instructions.registry import REGISTER
from trimtab.page import teaching
from trimtab.page.choosing import choices
from trimtab.page.workplace import Workplace

SMALL = teaching.Effort(queries=16, validation=8, steps=20, pool=16, watched=2)


@pytest.fixture
def place(engines: Callable[[str], Any], tmp_path: Path) -> Iterator[Workplace]:
    with closing(Workplace(engines("nano"), folder=tmp_path)) as found:
        yield found


def test_taught_with_a_break_in_between(place: Workplace, tmp_path: Path) -> None:
    one = teaching.catalogued("words(at_most=12)")
    assert all("12 words" in prompt for prompt in teaching.preview(place, one))
    job = place.job
    teaching.teach(place, job, one, SMALL)
    while not job.picture.loss and job.picture.is_running:
        time.sleep(0.01)
    job.cancel()
    cancelled = job.wait(60)
    assert cancelled.state == "cancelled"
    assert not place.library.names()
    job.resume()
    found = job.wait(240)
    assert found.state == "done", found.message
    assert [step for step, _ in found.loss] == list(range(1, len(found.loss) + 1))
    assert found.followed
    assert found.message.startswith("Of 8 questions it never saw, the steered model follows it in ")
    assert found.made == "words-12"
    assert [one.key for one in choices(place) if one.taught] == ["words-12"]
    assert teaching.name_for(place, one) == "words-12-2"
    assert [path.name for path in tmp_path.iterdir()] == ["words-12"]  # what was needed to resume is gone

    file = tmp_path / "upload.zip"
    file.write_bytes(place.zipped(["words-12"]))
    with closing(Workplace(place.engine)) as other:
        assert other.load_zip(file) == ["words-12"]
        assert other.steering("words-12").digest() == place.steering("words-12").digest()
        assert other.load(str(tmp_path / "words-12")) == ["words-12"]


def test_an_instruction_of_ones_own(place: Workplace) -> None:
    try:
        one = teaching.own_instruction(
            place, "ahoy", 'Say "Ahoy"!\n\n Begin with Ahoy. ', r"^Ahoy\b", ignore_case=True
        )
        assert one.check("ahoy there")
        assert not one.check("Hello, ahoy")
        assert one.phrasings("learning") == ['Say "Ahoy"!', "Begin with Ahoy."]
        assert teaching.preview(place, one, 1)[0].endswith(("Ahoy.", 'Ahoy"!'))
        again = teaching.own_instruction(place, "ahoy", "Say hello.", "^Hello")
        assert again.check("Hello there")
        REGISTER.remove("ahoy")
        with closing(Workplace(place.engine, folder=place.place)):
            assert teaching.catalogued("ahoy").check("Hello there")  # it is there after a restart
    finally:
        REGISTER.remove("ahoy")


@pytest.mark.parametrize(
    ("name", "phrases", "pattern", "message"),
    [
        ("No name", "Say it.", "x", "cannot be the name"),
        ("fine", " \n", "x", "no phrase yet"),
        ("fine", "Say it.", "", "no regular expression yet"),
        ("fine", "Say it.", "(", "is not valid"),
        ("json", "Say it.", "x", "there is an instruction 'json' already"),
    ],
)
def test_what_is_no_instruction_leaves_nothing_behind(
    place: Workplace, name: str, phrases: str, pattern: str, message: str
) -> None:
    with pytest.raises(InstructionError, match=message):
        teaching.own_instruction(place, name, phrases, pattern)
    assert list(place.place.rglob("*.toml")) == []


def test_an_expression_is_tried_on_an_answer() -> None:
    assert teaching.matches("^a", "abc") == "It finds 'a'."
    assert teaching.matches("^B", "abc", ignore_case=True) == "It finds nothing in this answer."
    assert "is not a regular expression" in teaching.matches("(", "abc")
    assert teaching.matches("", "abc") == ""
    assert teaching.matches("^a", None) == "This is a regular expression."


def test_an_expression_that_searches_without_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.patterns.SECONDS", 0.05)
    found = teaching.matches(r"(a|aa)+$", "a" * 3000 + "b")
    assert "took over 0.05 s on an answer" in found


def test_what_nothing_can_check_cannot_be_taught(place: Workplace) -> None:
    with pytest.raises(SteeringError, match="pirate has no check"):
        teaching.catalogued("pirate")
    assert "pirate" not in {kind.name for kind in teaching.teachable()}


@pytest.mark.parametrize("names", [["../steering.json"], ["readme.txt"], []])
def test_a_zip_without_a_steering_is_refused(place: Workplace, tmp_path: Path, names: list[str]) -> None:
    file = tmp_path / "some.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    with pytest.raises(SteeringError, match="there is no steering in this file"):
        place.load_zip(file)
    assert not (tmp_path.parent / "steering.json").exists()
    file.write_bytes(b"no zip")
    with pytest.raises(SteeringError, match="not a zip file"):
        place.load_zip(file)
