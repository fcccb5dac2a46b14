"""The checks agree with lm-evaluation-harness on generated cases, strict and loose."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from tests.instructions import cases, reference

from trimtab import instructions
from trimtab.instructions import splitting

COUNT = 5200
SEED = 20230711
OPTIONS = {"detectable_format:json_format": {"strict"}}
"""Parameters of ours that the reference lacks; without them a check is that of the reference."""


@pytest.fixture(scope="module")
def utils() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        yield reference.load(patch)


@pytest.fixture(scope="module")
def generated() -> dict[str, list[tuple[dict[str, Any], str]]]:
    by_id: dict[str, list[tuple[dict[str, Any], str]]] = {ifeval_id: [] for ifeval_id in cases.PARAMETERS}
    for ifeval_id, params, response in cases.generate(COUNT, SEED):
        by_id[ifeval_id].append((params, response))
    return by_id


@pytest.mark.skipif(splitting.splitter_name() == "simple", reason="needs a splitter of the reference's kind")
@pytest.mark.parametrize("ifeval_id", sorted(cases.PARAMETERS))
def test_agrees(
    utils: ModuleType, generated: dict[str, list[tuple[dict[str, Any], str]]], ifeval_id: str
) -> None:
    seen = set()
    disagreements = []
    for params, response in generated[ifeval_id]:
        judged = instructions.get(ifeval_id, **params).judge(response)
        expected = reference.verdict(utils, ifeval_id, dict(params), response)
        seen.add(expected)
        if (judged.strict, judged.loose) != expected:
            disagreements.append((params, response, expected, (judged.strict, judged.loose)))
    assert not disagreements
    # The cases must be able to tell a right check from a wrong one: both verdicts occur.
    assert {(True, True), (False, False)} <= seen


@pytest.mark.skipif(splitting.splitter_name() == "simple", reason="needs a splitter of the reference's kind")
def test_agrees_on_corner_cases(utils: ModuleType) -> None:
    corners = cases.corners()
    assert len(corners) > 5000
    for ifeval_id, params, response in corners:
        judged = instructions.get(ifeval_id, **params).judge(response)
        expected = reference.verdict(utils, ifeval_id, dict(params), response)
        assert (judged.strict, judged.loose) == expected, (ifeval_id, params, response)


def test_covers_every_id_of_the_reference(utils: ModuleType) -> None:
    registered = checkers(utils)
    ours = {kind.ifeval_id for kind in instructions.catalogue() if kind.ifeval_id}
    assert ours == set(registered) == set(cases.PARAMETERS)
    assert len(ours) == 25


def checkers(utils: ModuleType) -> dict[str, Any]:
    """The reference's own list of what it checks."""
    listed: dict[str, Any] = utils.instructions_registry.INSTRUCTION_DICT
    return listed


def test_generates_the_same_cases_again() -> None:
    assert cases.generate(200, 5) == cases.generate(200, 5)
    assert cases.generate(200, 5) != cases.generate(200, 6)


def test_takes_the_parameter_names_of_the_reference(utils: ModuleType) -> None:
    for ifeval_id, checker in checkers(utils).items():
        theirs = checker(ifeval_id).get_instruction_args_keys()
        ours = {parameter.name for parameter in instructions.get_type(ifeval_id).parameters}
        assert ours - OPTIONS.get(ifeval_id, set()) == set(theirs), ifeval_id
