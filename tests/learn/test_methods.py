"""The register of learning methods: what stands in it, and what another package adds."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from trimtab import learn, plugins
from trimtab.errors import TrimtabError
from trimtab.learn import methods


def offer(monkeypatch: pytest.MonkeyPatch, *values: str) -> None:
    points = [EntryPoint(f"p{n}", value, methods.ENTRY_POINT_GROUP) for n, value in enumerate(values)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: [one for one in points if one.group == group])


def sideways(model: Any, pairs: Any, instruction: Any, *, blocks: Any = None) -> None:
    """A function of a method, which does nothing."""


SIDEWAYS = methods.Method("sideways", "A quarter turn.", "directions", sideways)
PCA = methods.Method("pca", "Another of that name.", "directions", sideways)


def test_what_this_project_has_is_the_public_functions() -> None:
    assert [one.name for one in methods.methods()] == ["distill", "mean_difference", "contrast", "pca"]
    for one in methods.methods():
        assert one._callable() is getattr(learn, one.name)
        assert one.summary.endswith(".")
    assert [one.gradients for one in methods.methods()] == [True, False, False, False]
    assert methods.get("distill").takes("schedule")
    assert not methods.get("pca").takes("schedule")


def test_a_method_of_another_package_is_found_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    offer(monkeypatch, "tests.learn.test_methods:SIDEWAYS")
    found = methods.get("sideways")
    assert (found.summary, found.gives) == ("A quarter turn.", "directions")
    assert found.takes("blocks")
    assert not found.takes("tokens")
    assert methods.get("pca", "directions").function == "trimtab.learn:pca"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("no_such_module:METHOD", "No module named 'no_such_module'"),
        ("tests.learn.test_methods:sideways", "Method is wanted, and this is a function"),
        ("tests.learn.test_methods:PCA", "the name 'pca' is taken"),
    ],
)
def test_what_is_no_method_is_left_out_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    offer(monkeypatch, value)
    with pytest.warns(UserWarning, match=f"plug-in 'p0' .* failed: .*{words}"):
        assert len(methods.methods()) == 4


def test_a_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(TrimtabError, match="no method 'destill'; did you mean distill"):
        methods.get("destill")
    with pytest.raises(TrimtabError, match="there are distill, mean_difference, contrast, pca"):
        methods.get("x")
    with pytest.raises(TrimtabError, match="no method 'distill' that gives directions"):
        methods.get("distill", "directions")
