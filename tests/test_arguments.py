"""What callers give, by kind: what is taken, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trimtab import arguments
from trimtab.errors import PromptError


def test_numbers_of_other_libraries_are_taken_as_pythons() -> None:
    found: list[Any] = [
        arguments.whole(np.int64(3), "count", PromptError, least=1),
        arguments.whole(torch.tensor(3), "count", PromptError),
        arguments.number(np.float32(0.5), "strength", PromptError),
        arguments.number(torch.tensor(0.5), "strength", PromptError),
        arguments.number(2, "strength", PromptError),
    ]
    assert found == [3, 3, 0.5, 0.5, 2.0]
    assert [type(one) for one in found] == [int, int, float, float, float]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "count must be a whole number from 1 to 9, not 0"),
        (10, "count must be a whole number from 1 to 9, not 10"),
        pytest.param(
            10**5000,
            "count must be a whole number from 1 to 9, not a number of 16610 bits",
            id="of 5,000 digits",
        ),
        (True, "count must be a whole number from 1 to 9, not True"),
        (2.0, "count must be a whole number from 1 to 9, not 2.0"),
        ("2", "count must be a whole number from 1 to 9, not '2'"),
        (torch.ones(2), "count must be a whole number from 1 to 9, not a Tensor"),
        ([2], "count must be a whole number from 1 to 9, not a list"),
    ],
)
def test_a_whole_number_keeps_to_its_bounds(value: Any, message: str) -> None:
    with pytest.raises(PromptError) as error:
        arguments.whole(value, "count", PromptError, least=1, most=9)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), 10**300 * 10**300, "0.5", True, None, torch.ones(2), [0.5], -0.1, 1.1],
)
def test_a_share_is_between_0_and_1(value: Any) -> None:
    with pytest.raises(PromptError, match=r"^part must be a share between 0 and 1, not "):
        arguments.share(value, "part", PromptError)


@pytest.mark.parametrize("value", [0, -1.0, "x"])
def test_a_positive_number_is_above_0(value: Any) -> None:
    with pytest.raises(PromptError, match=r"^rate must be a positive number, not "):
        arguments.positive(value, "rate", PromptError)


def test_a_seed_fits_into_64_bits() -> None:
    assert arguments.seed(-(2**63), PromptError) == -(2**63)
    with pytest.raises(PromptError, match="seed must fit into 64 bits"):
        arguments.seed(2**64, PromptError)
    with pytest.raises(PromptError, match="seed must be a whole number, not None"):
        arguments.seed(None, PromptError)


def test_a_list_is_anything_that_is_gone_through_but_a_text_and_a_mapping() -> None:
    assert arguments.listed((one for one in "ab"), "queries", "texts", PromptError) == ["a", "b"]
    assert arguments.each(("a", "b"), "queries", "texts", str, PromptError) == ["a", "b"]
    for value in ("ab", b"ab", {"a": 1}, 3, None, torch.tensor(1)):
        with pytest.raises(PromptError, match=r"^queries must be a list of texts, not "):
            arguments.listed(value, "queries", "texts", PromptError)
    with pytest.raises(PromptError, match="queries must be a list of texts, and number 1 of it is 2"):
        arguments.each(["a", 2], "queries", "texts", str, PromptError)


def test_a_place_is_a_path_or_its_text(tmp_path: Path) -> None:
    assert arguments.place(str(tmp_path), "folder", PromptError) == tmp_path
    with pytest.raises(PromptError, match=r"folder must be a path, as a text or a pathlib\.Path, not 3"):
        arguments.place(3, "folder", PromptError)
