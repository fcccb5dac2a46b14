"""What other packages declare, loaded one by one."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from trimtab import plugins


def test_each_is_handed_on_and_what_fails_is_left_out_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    values = ("math:pi", "no_such_module:X", "math:nothing", "math:e", "math:tau")
    points = [EntryPoint(f"p{number}", value, "here") for number, value in enumerate(values)]
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == "here" else [])
    taken: list[Any] = []

    def take(value: float) -> None:
        if value > 6:
            raise ValueError("too large")
        taken.append(value)

    with pytest.warns(UserWarning, match="of plug-in") as caught:
        plugins.load_each("here", "the number", take)
    assert [round(value, 2) for value in taken] == [3.14, 2.72]
    assert [str(one.message).partition(" failed: ")[0] for one in caught] == [
        "the number of plug-in 'p1' (no_such_module:X)",
        "the number of plug-in 'p2' (math:nothing)",
        "the number of plug-in 'p4' (math:tau)",
    ]
    plugins.load_each("elsewhere", "the number", taken.append)
    assert len(taken) == 2
