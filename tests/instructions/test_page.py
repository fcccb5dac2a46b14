"""The page on instructions shows the catalogue as it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from trimtab import instructions

DOCS = Path(__file__).parents[2] / "docs"


def test_the_table_is_that_of_the_catalogue() -> None:
    spec = importlib.util.spec_from_file_location("catalogue_page", DOCS / "catalogue.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    page = module.PAGE.read_text(encoding="utf-8")
    assert module.render(page) == page, "run: python docs/catalogue.py"
    for kind in instructions.catalogue():
        if kind.ifeval_id:
            assert f"| `{kind.name}` | `{kind.ifeval_id}` |" in page
