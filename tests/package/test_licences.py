"""The page of licences is that of what is installed, and none is unknown."""

from __future__ import annotations

import importlib.util
import re
from typing import Any

import pytest
from tests.package.environments import ROOT


@pytest.fixture(scope="module")
def page() -> Any:
    spec = importlib.util.spec_from_file_location("licences_page", ROOT / "docs" / "licences.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dependency_is_listed_with_a_licence_that_may_be(page: Any) -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    made = page.render(text)  # raises at a licence that is unknown or not allowed
    listed = set(re.findall(r"^\| ([\w.-]+) \|", text, re.MULTILINE))
    needed = set(re.findall(r"^\| ([\w.-]+) \|", made, re.MULTILINE))
    assert needed <= listed, "run: python docs/licences.py"


def test_a_licence_that_reaches_further_is_refused(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {**page.licences(), "rich": "GNU Affero General Public License v3"}
    monkeypatch.setattr(page, "licences", lambda: known)
    with pytest.raises(ValueError, match=r"rich \(GNU Affero"):
        page.render("")
