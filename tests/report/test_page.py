from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from shutil import which

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.evaluate.fakes import FakeEngine, steering
from tests.report.html_check import Page, check

from trimtab import instructions
from trimtab.errors import TrimtabError
from trimtab.measure.responses import Response
from trimtab.measure.rows import Condition, Row, evaluate_instruction
from trimtab.report import pages, svg
from trimtab.report.heatmap import Point, SearchMap
from trimtab.report.page import (
    Report,
    mean_followed,
    render,
    sample_of,
    worse_than_baseline,
    write,
)
from trimtab.report.plots import followed_bars

ROOT = Path(__file__).parents[2]
QUERIES = ["What is the River?", "Tell me about the River.", "Why do people love the River?"]
SEARCH = [
    Point(method, block, strength, 3, good=block / 4, accepted=strength < 2, chosen=False)
    for method in ("add", "set_projection")
    for block in range(4)
    for strength in (0.5, 1.0, 2.0)
]
SEARCH[4] = replace(SEARCH[4], chosen=True)


def rows_of(*names: str) -> list[Row]:
    return [
        row
        for name in names
        for row in evaluate_instruction(FakeEngine(), instructions.get(name), steering(), QUERIES)
    ]


def row(condition: Condition, strict: str, *, text: str = "An answer.", facts: float | None = None) -> Row:
    """A row from a string of passes: "1" passed, "0" did not."""
    passed = tuple(mark == "1" for mark in strict)
    responses = tuple(Response(f"q{i}", f"q{i}", text, True, 1.0, 0.0, facts) for i in range(len(passed)))
    method = "mean_difference" if "steered" in condition else None
    return Row(instructions.get("json"), condition, method, responses, passed, passed)


@pytest.fixture(scope="module")
def page() -> tuple[str, Page]:
    report = Report(
        title="trimtab demo: fake",
        lead="What it says.",
        rows=rows_of("lowercase", "json"),
        searches=[SearchMap("lowercase", SEARCH, improved=False), SearchMap("json", SEARCH[:3])],
        settings={"seed": "0", "model": "<fake> & co"},
        seconds={"learn": 1.25, "total": 3.0},
        steerings={"lowercase": "steerings/lowercase"},
        footer="The end.",
    )
    source = render(report)
    return source, check(source)


def test_the_page_is_whole_and_alone(page: tuple[str, Page]) -> None:
    source, parsed = page
    assert parsed.tags.count("svg") == 4  # followed, quality, two searches
    assert "<metadata" not in source
    assert "prefers-color-scheme: dark" in source
    assert "@media print" in source
    assert "width=device-width" in source


def test_the_page_has_every_row(page: tuple[str, Page]) -> None:
    _, parsed = page
    cells = [[" ".join(cell.split()) for cell in line] for line in parsed.cells]
    assert ["instruction", "baseline", "instructed", "steered", "instructed+steered"] in cells
    assert ["lowercase", "0.00 0.00 – 0.56", *["1.00 0.44 – 1.00"] * 3] in cells
    assert ["mean", "0.00", "0.50", "0.50", "0.50"] in cells
    for name in ("lowercase", "json"):
        found = [line for line in cells if line[0] == name and len(line) == 12]
        assert [line[1] for line in found] == ["baseline", "instructed", "steered", "instructed+steered"]
        assert [line[2] for line in found] == ["–", "–", "mean_difference", "mean_difference"]
        assert {line[3] for line in found} == {"3"}


def test_the_page_shows_searches_samples_settings_and_times(page: tuple[str, Page]) -> None:
    words = page[1].words
    for text in (
        "add, block 1, strength 1; no better than steering nothing",
        "3 candidates, none chosen",
        "<fake> & co",
        "learn 1.2",
        "total 3.0",
    ):
        assert text in words
    for text in ("the river is quiet.", "The River is quiet.", "✓ follows", "✗ does not follow", "The end."):
        assert text in words


def test_searches_that_found_nothing_are_folded_and_stand_last() -> None:
    none = [replace(point, good=0.0) for point in SEARCH]
    useless, empty = SearchMap("useless", SEARCH, improved=False), SearchMap("empty", none)
    useful = [SearchMap(f"useful{number}", SEARCH) for number in range(4)]
    source = render(Report("t", "l", rows_of("json"), searches=[useless, *useful, empty]))
    check(source)
    folds = re.findall(r'<details class="map"( open)?><summary><h3>(\w+)</h3>', source)
    assert [name for _, name in folds] == ["useful0", "useful1", "useful2", "useless", "useful3", "empty"]
    assert [is_open for is_open, _ in folds] == [" open"] * 3 + [""] * 3
    assert "Folded are" in source
    alone = render(Report("t", "l", rows_of("json"), searches=useful[:1]))
    assert (alone.count("<details"), "Folded are" in alone) == (1, False)


def test_facts_are_a_dash_where_nobody_can_judge_them(page: tuple[str, Page]) -> None:
    assert "facts : share of sentences" not in page[1].words
    judged = check(render(Report("t", "l", [row("baseline", "01", facts=0.75)])))
    assert "facts : share of sentences" in judged.words
    assert any("0.75" in cell for line in judged.cells for cell in line)


def test_what_a_model_writes_never_becomes_markup() -> None:
    attack = "</pre><script>alert(1)</script><img src=x onerror=alert(1)> \x00\x1b[31m \ud800 {{ 7 * 7 }}"
    source = render(Report(attack, attack, [row("baseline", "0", text=attack)], settings={attack: attack}))
    assert "{{ 7 * 7 }}" in check(source).words
    source.encode("utf-8")
    assert "\x00" not in source


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=200))
def test_any_text_gives_a_sound_page(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg, "find_spec", lambda name: None)
    check(render(Report("t", text, [row("baseline", "01", text=text), row("steered", "10", text=text)])))


def test_long_answers_are_shortened_in_the_page_only() -> None:
    words = check(render(Report("t", "l", [row("baseline", "0", text="word " * 1000)]))).words
    assert "word …" in words
    assert words.count("word ") < 200


def test_another_method_stands_beside() -> None:
    rows = rows_of("lowercase", "json")
    beside = [replace(rows[2], method="mean_difference", strict=(True, False, False))]
    page = check(render(Report("t", "l", rows, beside=beside)))
    cells = [[" ".join(cell.split()) for cell in line] for line in page.cells]
    heading = ["instruction", "baseline", "instructed", "steered", "by mean difference", "instructed+steered"]
    assert heading in cells
    shares = next(line for line in cells if line[0] == "lowercase")
    assert [cell.split()[0] for cell in shares[1:]] == ["0.00", "1.00", "1.00", "0.33", "1.00"]
    assert next(line for line in cells if line[0] == "json")[4] == "–"
    assert ["lowercase", "steered", "mean_difference", "3", "0.33"] in [line[:5] for line in cells]
    figure = followed_bars(rows, beside)
    assert len(figure.axes[0].patches) == 9


def test_without_matplotlib_the_numbers_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svg, "find_spec", lambda name: None)
    parsed = check(render(Report("t", "l", rows_of("lowercase"), searches=[SearchMap("lowercase", SEARCH)])))
    assert parsed.tags.count("svg") == 1, "the heat map needs no matplotlib"
    assert "pip install 'trimtab[report]'" in parsed.words
    assert "add, block 1, strength 1" in parsed.words


def test_without_jinja2_it_says_so_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "find_spec", lambda name: None)
    with pytest.raises(TrimtabError, match=r"trimtab\[report\]"):
        pages.check_installed()


def test_a_first_use_of_matplotlib_is_silent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder for a cache")
    code = (
        "from tests.report.test_page import row; from trimtab.report.page import Report, render;"
        "import logging; assert '<svg' in render(Report('t', 'l', [row('baseline', '01')]));"
        "assert logging.getLogger('matplotlib').level == logging.NOTSET"
    )
    environment = os.environ | {"MPLCONFIGDIR": str(tmp_path / "file" / "cache"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, cwd=ROOT
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_report_needs_rows() -> None:
    with pytest.raises(ValueError, match="at least one row"):
        render(Report("t", "l", []))


def test_a_steering_that_harms_is_marked() -> None:
    rows = [
        row("baseline", "11"),
        row("instructed", "11"),
        row("steered", "10"),
        row("instructed+steered", "11"),
    ]
    assert worse_than_baseline(rows) == {("json", "steered")}
    assert "▼ 0.50" in check(render(Report("t", "l", rows))).words
    assert worse_than_baseline(rows_of("lowercase")) == set()


def test_means_are_over_instructions() -> None:
    assert mean_followed([row("baseline", "10"), row("baseline", "1"), row("steered", "0")]) == {
        "baseline": 0.75,
        "steered": 0.0,
    }


@pytest.mark.parametrize(
    ("steered", "query"), [("0011", "q2"), ("0100", "q0"), ("1101", "q0"), ("1000", "q1")]
)
def test_a_sample_is_typical(steered: str, query: str) -> None:
    sample = sample_of("json", {"baseline": row("baseline", "0000"), "steered": row("steered", steered)})
    assert sample["query"] == query
    assert [answer["condition"] for answer in sample["answers"]] == ["baseline", "steered"]


def test_writing_leaves_the_file_and_nothing_else(tmp_path: Path) -> None:
    write(Report("t", "Größe – ✓", rows_of("lowercase")), tmp_path / "report.html")
    assert "Größe – ✓" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_what_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TrimtabError, match="cannot write"):
        write(Report("t", "l", rows_of("lowercase")), tmp_path / "missing" / "report.html")


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
CHROMIUM = next((found for name in BROWSERS if (found := which(name))), None)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium or Chrome on this machine to open the report in")
def test_a_real_browser_shows_it_without_sideways_scrolling(tmp_path: Path) -> None:
    rows = rows_of("lowercase", "json")
    beside = [replace(rows[2], method="mean_difference")]
    searches = [SearchMap("lowercase", SEARCH, improved=False), SearchMap("json", SEARCH[:3])]
    source = render(Report("t", "l", rows, beside=beside, searches=searches))
    (tmp_path / "report.html").write_text(source, encoding="utf-8")
    # A phone's width in a frame, because headless windows have a least width of their own.
    (tmp_path / "phone.html").write_text(
        """<!DOCTYPE html><body><iframe id="f" src="report.html" style="width:390px;height:800px"></iframe><script>
        document.getElementById("f").onload = (event) => {
          const page = event.target.contentDocument, root = page.documentElement;
          const cells = [...page.querySelectorAll(".shares td")];
          page.querySelectorAll("details").forEach((one) => { one.open = true; });
          document.title = [root.scrollWidth <= 390, cells.every((one) => one.scrollWidth <= one.clientWidth),
            page.querySelectorAll("svg").length,
            [...page.querySelectorAll("svg")].every((svg) => svg.getBoundingClientRect().height > 60)].join(" ");
        };</script></body>""",
        encoding="utf-8",
    )
    assert CHROMIUM is not None
    shown = subprocess.run(
        [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            (tmp_path / "phone.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    assert "<title>true true 4 true</title>" in shown
