from __future__ import annotations

import subprocess
import sys

import pytest

import trimtab


def test_importing_trimtab_imports_nothing_heavy() -> None:
    code = (
        "import sys, trimtab; print(' '.join({'torch', 'transformers', 'rich', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_importing_an_edit_does_not_import_transformers() -> None:
    code = "import sys; from trimtab import Edit, Steering, Engine; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", trimtab.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(trimtab, name) is not None
    assert name in dir(trimtab)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = trimtab.nonsense
