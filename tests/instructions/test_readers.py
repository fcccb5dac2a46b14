"""The checks of our own types agree with a reader.

The cases in `readers/` were written from the words of the instructions, not from the code: each line says what a
reader would judge of one answer, and what it tries. `follows` is true, false, "undecided" (nobody could tell) or
"refused" (the parameters are, by a message that names what `says` has). Cases on which check and reader still differ
stand in `readers/disagreements.json`, each with its reason.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trimtab import instructions
from trimtab.errors import InstructionError
from trimtab.instructions import Instruction, load_file
from trimtab.instructions.registry import REGISTER

HERE = Path(__file__).parent / "readers"
FILES = sorted(HERE.glob("*.jsonl"))
AGREED = 0.99
"""The share of cases, in every file, in which the check has to agree with the reader."""
AGREED_BY_IFEVAL = {"language": 0.98}
"""The share where IFEval's own detector judges, which is kept as it is."""
FROM_FILES = ("json_schema", "regex")
"""Types that a TOML file makes; `params` is what its table has beside phrasings."""

Case = dict[str, Any]
Make = Callable[[Case], Instruction]


def cases(path: Path) -> list[Case]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


def same(case: Case) -> str:
    return json.dumps([case["type"], case["params"], case["answer"]], sort_keys=True, ensure_ascii=False)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes the instruction of a case; types from files are forgotten after the test."""
    before = set(instructions.names())
    made: dict[str, Instruction] = {}

    def instruction(case: Case) -> Instruction:
        if case["type"] not in FROM_FILES:
            return instructions.get(case["type"], **case["params"])
        key = json.dumps(case["params"])
        if key not in made:
            made[key] = _from_file(tmp_path, case["params"], f"readers_{len(made)}")
        return made[key]

    yield instruction
    for name in set(instructions.names()) - before:
        REGISTER.remove(name)


def _from_file(folder: Path, params: dict[str, Any], name: str) -> Instruction:
    lines = [f"[{name}]", 'phrasings = ["Write so.", "Do it so.", "Answer so."]']
    if "schema" in params:
        (folder / f"{name}.json").write_text(json.dumps(params["schema"]), encoding="utf-8")
        lines.append(f'json_schema = "{name}.json"')
    # A text of JSON is one of TOML too.
    lines += [f"{key} = {json.dumps(value)}" for key, value in params.items() if key != "schema"]
    file = folder / f"{name}.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    (kind,) = load_file(file)
    return kind()


def agrees(case: Case, make: Make) -> bool:
    if case["follows"] == "refused":
        try:
            make(case).check(case["answer"])
        except InstructionError as error:
            return case["says"] in str(error)
        return False
    judgement = make(case).judge(case["answer"])
    if case["follows"] == "undecided":
        return judgement.undecided
    return judgement.strict is case["follows"] and not judgement.undecided


def test_the_cases_are_many() -> None:
    assert sum(len(cases(path)) for path in FILES) >= 1500


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_cases_are_distinct_and_balanced(path: Path) -> None:
    judged = cases(path)
    assert [case for case, count in Counter(map(same, judged)).items() if count > 1] == []
    assert all(case["type"] == path.stem and case["note"] for case in judged)
    plain = [case["follows"] for case in judged if isinstance(case["follows"], bool)]
    assert 0.4 <= sum(plain) / len(plain) <= 0.6


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_check_agrees_with_a_reader(path: Path, make: Make) -> None:
    judged = cases(path)
    listed = {
        same(case): case["reason"] for case in json.loads((HERE / "disagreements.json").read_text("utf-8"))
    }
    wrong = [case for case in judged if not agrees(case, make)]
    unlisted = [json.dumps(case, ensure_ascii=False) for case in wrong if not listed.get(same(case))]
    assert not unlisted, "the check and its reader differ:\n" + "\n".join(unlisted)
    assert len(wrong) <= (1 - AGREED_BY_IFEVAL.get(path.stem, AGREED)) * len(judged)
    # What agrees by now has to be taken off the list.
    known = {same(case) for case in judged}
    assert {case for case in listed if case in known} == {same(case) for case in wrong}


def test_disagreements_are_cases() -> None:
    listed = [same(case) for case in json.loads((HERE / "disagreements.json").read_text("utf-8"))]
    assert set(listed) <= {same(case) for path in FILES for case in cases(path)}
