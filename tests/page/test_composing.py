from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from trimtab.errors import SteeringError
from trimtab.page import composing
from trimtab.page.workplace import Workplace


def test_two_that_disturb_each_other_are_made_to_go_together(
    engines: Callable[[str], Any], tmp_path: Path
) -> None:
    with closing(Workplace(engines("nano"), folder=tmp_path)) as place:
        place.stock()
        composing.fit(place, "quotes", "sentences")
        found = place.job.wait(240)
        assert (found.state, found.made) == ("done", "quotes-and-sentences"), found.message
        shares = re.findall(r"(\d+)%", found.message)
        assert [int(share) for share in shares] == sorted(map(int, shares))
        assert int(shares[1]) > int(shares[0])
        assert len(place.steering("quotes-and-sentences").record.instructions) == 2
        with pytest.raises(SteeringError, match="choose two different steerings"):
            composing.fit(place, "quotes", "quotes")
