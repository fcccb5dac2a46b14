"""The heat map: every candidate is there once, where it belongs, and says what became of it."""

from __future__ import annotations

import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.html_check import check

from trimtab.report import heatmap

Cell = partial(heatmap.Point, method="add", block=0, strength=1.0, n=3, good=0.5, accepted=True, chosen=False)


def page_of(svg: str) -> str:
    head = "<head><meta charset='utf-8'><title>x</title></head>"
    return f"<!DOCTYPE html><html lang='en'>{head}<body>{svg}</body></html>"


def rectangles(svg: str) -> list[str]:
    return re.findall(r"<rect [^>]*>", svg)


def test_every_candidate_is_a_cell_that_tells_its_numbers() -> None:
    points = [
        Cell(method=method, block=block, strength=strength)
        for method in ("add", "set_projection")
        for block in range(3)
        for strength in (0.5, 2)
    ]
    svg = heatmap.svg(
        [
            *points,
            Cell(block=3, strength=4.0, n=12, good=0.75, chosen=True),
            Cell(block=3, strength=8.0, good=1.0, accepted=False),
        ]
    )
    assert len(rectangles(svg)) == len(points) + 2
    titles = re.findall(r"<title>([^<]*)</title>", svg)
    assert "block 3, strength 4: 0.75 good of 12, chosen" in titles
    assert "block 3, strength 8: 1.00 good of 3, rejected" in titles
    assert ">set projection<" in svg
    assert ">.75<" in svg
    assert ">1×<" in svg


def test_blocks_go_up_and_strengths_to_the_right() -> None:
    low, high = Cell(block=1, strength=0.5), Cell(block=2, strength=4.0)
    places = []
    for svg in (heatmap.svg([low, high]), heatmap.svg([high, low])):
        found = {
            title: (float(x), float(y))
            for title, x, y in re.findall(
                r"<title>(block \d)[^<]*</title><rect x=\"([\d.]+)\" y=\"([\d.]+)\"", svg
            )
        }
        assert found["block 1"][0] < found["block 2"][0]
        assert found["block 1"][1] > found["block 2"][1]
        places.append(found)
    assert places[0] == places[1], "the order of the candidates makes no difference"


def test_frames_tell_the_chosen_from_those_tried_on_all() -> None:
    svg = heatmap.svg([Cell(strength=1, n=3), Cell(strength=2, n=12), Cell(strength=4, n=12, chosen=True)])
    widths = [re.findall(r'stroke-width="([\d.]+)"', rect) for rect in rectangles(svg)]
    assert widths[0] == []
    assert 0 < float(widths[1][0]) < float(widths[2][0])


def test_a_steering_of_several_blocks_has_one_line() -> None:
    svg = heatmap.svg([Cell(method="scaled", block=None, strength=strength) for strength in (0.5, 1.0)])
    assert ">all<" in svg
    assert "<title>strength 0.5: 0.50 good of 3</title>" in svg


def test_a_caption_says_what_was_chosen() -> None:
    chosen = Cell(block=3, strength=2.0, chosen=True)
    assert heatmap.SearchMap("json", [Cell(), chosen]).caption == "add, block 3, strength 2"
    assert heatmap.SearchMap("json", [chosen], improved=False).caption.endswith(
        "; no better than steering nothing"
    )
    assert heatmap.SearchMap("json", [Cell(), Cell()]).caption == "2 candidates, none chosen"
    assert heatmap.SearchMap("json", [Cell(block=None, chosen=True)]).caption == "add, strength 1"


def test_without_candidates_there_is_no_map() -> None:
    with pytest.raises(ValueError, match="at least one candidate"):
        heatmap.svg([])


cells = st.builds(
    Cell,
    method=st.sampled_from(["add", "set_projection", "<script>&\"'"]),
    block=st.none() | st.integers(0, 99),
    strength=st.floats(-1e6, 1e6),
    n=st.integers(1, 99),
    good=st.floats(-2, 2),
    accepted=st.booleans(),
    chosen=st.booleans(),
)


@given(st.lists(cells, min_size=1, max_size=12))
def test_any_search_is_sound_html_and_needs_nothing_from_outside(points: list[heatmap.Point]) -> None:
    svg = heatmap.svg(points, description='<b> & "quotes"')
    page = check(page_of(svg))
    assert page.tags.count("rect") == len(points)
    assert "script" not in page.tags
    assert page.ids == []
