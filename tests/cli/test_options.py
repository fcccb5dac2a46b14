"""What all commands have in common: groups of options, lists of numbers, and files of instructions."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from tests.ports import free_port
from typer.testing import CliRunner

from trimtab import instructions
from trimtab.cli.app import app
from trimtab.cli.models import EngineChoice, Loading
from trimtab.cli.options import flat, number_or_auto, numbers, steering_folder
from trimtab.errors import InstructionError, ModelError, SteeringError
from trimtab.instructions.registry import REGISTER
from trimtab.steering.steering import Steering

FLOATS = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1)


@given(FLOATS)
def test_numbers_come_back_as_they_were_written(values: list[float]) -> None:
    assert numbers(",".join(map(repr, values)), "--x", float) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (".5", [0.5]),
        ("1e-1", [0.1]),
        ("5.", [5.0]),
        ("-1,+2", [-1.0, 2.0]),
        ("1, 2 ,3", [1.0, 2.0, 3.0]),
        ("0", [0.0]),
    ],
)
def test_numbers_may_be_written_in_all_usual_ways(text: str, values: list[float]) -> None:
    assert numbers(text, "--x", float) == values


@pytest.mark.parametrize("text", ["", "much", "1,,2", "1,", "nan", "inf", "1;2", "1e999"])
def test_what_is_no_list_of_numbers_is_named(text: str) -> None:
    with pytest.raises(typer.BadParameter) as error:
        numbers(text, "--x", float)
    assert error.value.message == f"--x takes numbers separated by commas, not {text!r}"


def test_whole_numbers_have_no_fraction_and_factors_are_not_zero() -> None:
    assert numbers("0,-1", "--blocks", int) == [0, -1]
    for text, kind in (("1.5", int), ("1e1", int)):
        with pytest.raises(typer.BadParameter, match="--blocks takes"):
            numbers(text, "--blocks", kind)
    with pytest.raises(typer.BadParameter, match="takes factors, not '1,0'"):
        numbers("1,0", "--x", float, zero=False, takes="factors")


def test_a_number_or_auto() -> None:
    assert number_or_auto(None, "--rank", int) is None
    assert number_or_auto("auto", "--rank", int) is None
    assert number_or_auto("2", "--rank", int) == 2
    assert math.isclose(number_or_auto(".5", "--strength", float) or 0, 0.5)
    for text in ("1,2", "car", ""):
        with pytest.raises(typer.BadParameter, match="--rank takes auto or a number, not"):
            number_or_auto(text, "--rank", int)


def test_a_group_of_options_is_one_argument() -> None:
    @dataclasses.dataclass
    class Boat:
        length: Annotated[float, typer.Option("--length", min=1.0)] = 7.0
        name: Annotated[str | None, typer.Option("--name")] = None
        afloat: bool = dataclasses.field(init=False, default=True)

    seen: list[Any] = []

    def command(port: Annotated[str, typer.Argument()], days: int = 1, *, boat: Boat) -> None:
        """Sails."""
        seen.append((port, days, boat))

    # A module names its annotations as text; here they are not to be found by name.
    command.__annotations__ = {"port": str, "days": int, "boat": Boat, "return": None}
    Boat.__annotations__ = {
        "length": Annotated[float, typer.Option("--length", min=1.0)],
        "name": Annotated[str | None, typer.Option("--name")],
        "afloat": bool,
    }
    boats = typer.Typer()
    boats.command()(flat(command))
    result = CliRunner().invoke(boats, ["Kiel", "--name", "Ida", "--days", "3"])
    assert result.exit_code == 0, result.output
    assert seen == [("Kiel", 3, Boat(7.0, "Ida"))]
    assert CliRunner().invoke(boats, ["Kiel", "--length", "0"]).exit_code == 2
    assert "Sails." in CliRunner().invoke(boats, ["--help"]).output
    assert "afloat" not in CliRunner().invoke(boats, ["--help"]).output


GREETING = (
    '[greeting]\nphrasings = ["Say hello.", "Begin with hello.", "Greet me with hello."]\nregex = "hello"\n'
)
NAMES_NONE = {"when", "reproduce", "serve", "architectures", "inspect", "doctor", "fetch", "pull"}
"""Commands that neither take the name of an instruction nor ask one of a steering's record for its check."""

NAMING = {
    "instructions": ["greeting"],
    "check": ["greeting", "--responses", "-"],
    "agreement": ["self", "-i", "greeting"],
    "learn": ["greeting", "--out", "OUT"],
    "tune": ["greeting"],
    "follow": ["Hi!", "-i", "greeting"],
    "evaluate": ["-i", "greeting", "--no-cache"],
    "demo": ["-i", "greeting", "--out", "OUT"],
    "generate": ["Hi!", "-s", "STEERING", "-m", "nano"],
    "compose": ["STEERING", "STEERING", "--out", "OUT", "-m", "nano"],
    "transfer": ["STEERING", "--model", "nano"],
    "play": ["nano", "--no-browser", "--port", "PORT"],
    "push": ["STEERING", "someone/shout"],
    "bake": ["STEERING", "--out", "OUT", "-m", "nano"],
    "export": ["STEERING", "--format", "gguf", "--approximate", "--out", "OUT", "-m", "nano"],
    "import": ["OWN.gguf", "--format", "gguf", "--instruction", "greeting", "--out", "OUT"],
}


@pytest.fixture
def greeting(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "own.toml").write_text(GREETING)
    yield tmp_path / "own.toml"
    for name in ("greeting", "farewell"):
        if name in instructions.names():
            REGISTER.remove(name)


def test_every_command_takes_files_of_instructions_or_names_none() -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    known = {name for name, one in commands.items() if any("--file" in option.opts for option in one.params)}
    assert known == set(commands) - NAMES_NONE == set(NAMING)


@pytest.mark.parametrize("name", sorted(NAMING))
def test_instructions_of_a_file_are_known_before_anything_names_one(
    run: Callable[..., Any],
    name: str,
    greeting: Path,
    steering_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opened(*arguments: object, **options: object) -> None:
        raise ModelError("all was read")

    monkeypatch.setattr(Loading, "open", opened)
    monkeypatch.setattr(EngineChoice, "open", opened)
    monkeypatch.setattr(Steering, "push_to_hub", opened)
    places = {"STEERING": steering_folder, "OUT": tmp_path / "out", "PORT": free_port()}
    arguments = [places.get(one, one) for one in NAMING[name]]
    if "greeting" in arguments:
        result = run(name, *arguments, input="")
        assert result.exit_code == 2
        assert "greeting" in result.stderr
    result = run(name, *arguments, "--file", greeting, input="")
    assert result.exit_code == (0 if name in ("instructions", "check") else 2)
    assert result.exit_code == 0 or result.stderr.endswith("error: all was read\n"), result.stderr
    assert instructions.get_type("greeting").source == str(greeting.resolve())


def test_several_files_and_what_is_wrong_with_one(run: Callable[..., Any], greeting: Path) -> None:
    other = greeting.with_name("other.toml")
    other.write_text(GREETING.replace("greeting", "farewell"))
    result = run("instructions", "--file", greeting, "--file", other, "--json", "-")
    assert {"greeting", "farewell"} <= set(instructions.names())
    assert '"farewell"' in result.stdout
    other.write_text("[json]\n")
    result = run("instructions", "--file", other)
    assert result.exit_code == 2
    assert str(other) in result.stderr
    with pytest.raises(InstructionError, match="cannot read"):
        instructions.load_file(greeting.with_name("none.toml"))


def test_a_folder_to_save_in_is_judged_as_saving_does(tmp_path: Path) -> None:
    assert steering_folder(None) is None
    assert steering_folder(tmp_path / "new") == tmp_path / "new"
    for left in (".trimtab-training", ".steering.json-x8.tmp"):  # of a killed run, which goes on here
        (tmp_path / left).touch()
    assert steering_folder(tmp_path) == tmp_path
    (tmp_path / "notes.txt").touch()
    with pytest.raises(SteeringError, match=r"holds something else \(notes.txt\)"):
        steering_folder(tmp_path)
    with pytest.raises(SteeringError, match="is a file"):
        steering_folder(tmp_path / "notes.txt")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder where nobody can write")
@pytest.mark.parametrize("place", ["/proc/nothing", "/proc/nothing/more"])
def test_a_folder_that_cannot_be_written_is_refused_before_the_work(place: str) -> None:
    with pytest.raises(SteeringError, match="cannot write /proc/nothing: "):
        steering_folder(Path(place))


def test_trying_a_folder_leaves_nothing(tmp_path: Path) -> None:
    assert steering_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert steering_folder(tmp_path) == tmp_path
    assert list(tmp_path.iterdir()) == []
