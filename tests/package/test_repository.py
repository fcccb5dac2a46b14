"""What surrounds the code: workflows that call what exists, a citation of this version, forms that parse."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.package.environments import ROOT

import trimtab

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PYTHONS = {"3.11", "3.12", "3.13"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read(path)["jobs"]
    return found


def test_there_is_a_workflow_for_tests_docs_and_release() -> None:
    assert [path.stem for path in WORKFLOWS] == ["docs", "release", "tests"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_run_targets_that_exist_with_few_rights(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert read(path)["permissions"] == {"contents": "read"}
    for job in jobs(path).values():
        for step in job["steps"]:
            assert ("uses" in step) != ("run" in step)
            assert set(re.findall(r"\bmake ([\w-]+)", step.get("run", ""))) <= targets
            assert re.fullmatch(r"[\w/.-]+@(v\d+|release/v1)", step.get("uses", "a@v1"))


def test_a_release_is_published_by_trust_and_after_its_checks() -> None:
    found = jobs(ROOT / ".github" / "workflows" / "release.yml")
    assert found["publish"]["permissions"] == {"id-token": "write"}
    assert found["publish"]["needs"] == "build"
    assert "permissions" not in found["build"]
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert "secrets." not in text
    assert "password" not in text


def test_the_versions_of_python_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = {one.rpartition(" ")[2] for one in project["classifiers"] if re.search(r":: 3\.\d+$", one)}
    assert named == PYTHONS
    tests = jobs(ROOT / ".github" / "workflows" / "tests.yml")
    assert {*tests["main"]["strategy"]["matrix"]["python"]} == PYTHONS


def test_the_citation_is_of_this_version() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == trimtab.__version__
    assert citation["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors"} <= set(citation)


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda path: path.stem
)
def test_forms_have_what_a_form_needs(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    assert len({part["id"] for part in form["body"]}) == len(form["body"])
    assert all(part["type"] in {"input", "textarea"} and part["attributes"]["label"] for part in form["body"])
