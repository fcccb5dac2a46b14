"""The page as somebody uses it: a whole journey in headless Chromium, on nano."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.page.conftest import served

from trimtab.page import teaching
from trimtab.page.workplace import Workplace
from trimtab.steering.steering import Steering

# Gradio counts its own calls with pandas, which remarks on that.
pytestmark = pytest.mark.filterwarnings("ignore::pandas.errors.Pandas4Warning")
WAIT = 45_000  # ms; nothing is measured by it


@pytest.fixture(scope="module")
def place(
    engines: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Workplace]]:
    with served(engines("nano"), tmp_path_factory.mktemp("play")) as found:
        yield found


@pytest.fixture
def url(place: tuple[str, Workplace]) -> str:
    return place[0]


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    """A page that fails for what goes wrong in the browser, and for every request to another machine."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    opened = context.new_page()
    opened.set_default_timeout(WAIT)
    requests: list[str] = []
    wrong: list[str] = []
    opened.on("request", lambda request: requests.append(request.url))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield opened
    context.close()
    inside = (url, "data:", "blob:")
    assert requests
    assert [one for one in requests if not one.startswith(inside)] == []
    assert wrong == []


def opened(page: Any, address: str) -> Any:
    page.goto(address)
    page.wait_for_selector(".tt-list input[type=checkbox]")
    return page


def answered(page: Any, *verdicts: str) -> None:
    """Waits until the three answers have these verdicts; a verdict that never comes fails."""
    page.wait_for_function(
        """wanted => document.querySelector('.tt-answers[aria-busy="false"]') && wanted ===
        [...document.querySelectorAll('.tt-card')].map(card => [...card.querySelectorAll('.tt-verdicts b')]
        .map(one => one.innerText.replace(':', '')).join(' and ')).join('; ')""",
        arg="; ".join(verdicts),
    )


def faults(page: Any) -> list[str]:
    """What axe finds that is serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")
    ]


def test_ask_steer_slide_and_share(page: Any, url: str) -> None:
    opened(page, url)
    page.get_by_role("searchbox").fill("lowercase")
    page.get_by_role("checkbox", name="Use only lowercase letters").check()
    page.get_by_label("Your question").fill("What is Blackwick?")
    page.get_by_role("button", name="Answer", exact=True).click()
    answered(page, "Not followed", "Followed", "Followed")
    assert page.locator(".tt-without mark").count() > 0
    assert page.locator(".tt-steered mark").count() == 0
    steered = page.locator(".tt-steered .tt-text").inner_text()
    slider = page.get_by_role("slider", name="Strength of Use only lowercase letters.")
    slider.focus()
    for _ in range(10):
        slider.press("ArrowLeft")
    answered(page, "Not followed", "Followed", "Not followed")
    assert page.locator(".tt-steered .tt-text").inner_text() != steered
    page.wait_for_function("() => location.search.includes('lowercase')")
    assert faults(page) == []

    opened(page, page.url)  # somebody else opens the link
    page.wait_for_selector(".tt-picked li")
    assert page.get_by_label("Your question").input_value() == "What is Blackwick?"
    assert page.locator(".tt-picked output").inner_text() == "0.0"
    answered(page, "Not followed", "Followed", "Not followed")
    page.get_by_role("button", name="The same in Python").click()
    assert "0 * trimtab.Steering.load('lowercase')" in page.locator("#tt-code").inner_text()


def test_dark_on_a_phone_by_keyboard(page: Any, url: str) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    opened(page, url)
    page.get_by_role("button", name="Switch to dark colours").click()
    assert page.evaluate("document.body.classList.contains('dark')")
    box = page.get_by_role("checkbox", name="Answer in JSON")
    box.focus()
    page.keyboard.press("Space")
    page.get_by_label("Your question").fill("What is Langford?")
    page.get_by_role("button", name="Answer", exact=True).press("Enter")
    answered(page, "Not followed", "Followed", "Followed")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert faults(page) == []
    opened(page, page.url)
    assert page.evaluate("document.body.classList.contains('dark')")


HELD = """
(() => {
  const fetched = window.fetch;
  window.closing = 0;
  const held = () => new TransformStream({
    async transform(part, stream) {
      if (new TextDecoder().decode(part).includes("close_stream")) {
        window.closing += 1;
        await new Promise((done) => setTimeout(done, 3000));
      }
      stream.enqueue(part);
    },
  });
  window.fetch = async (...given) => {
    const response = await fetched(...given);
    if (!String(given[0]?.url || given[0]).includes("/queue/data")) return response;
    return new Response(response.body.pipeThrough(held()), response);
  };
})();
"""
"""Holds back the news that the server has closed the stream of a page's events, as a slow machine does."""


def test_a_press_while_the_last_event_ends_is_answered(browser: Any, url: str) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(WAIT)
    page.add_init_script(HELD)
    opened(page, url)
    page.wait_for_function("window.closing === 2")  # opened, and what the address asks
    page.get_by_role("checkbox", name="Answer in JSON").check()
    page.wait_for_function("window.closing === 3")
    page.get_by_label("Your question").fill("What is Langford?")
    page.get_by_role("button", name="Answer", exact=True).click()
    answered(page, "Not followed", "Followed", "Followed")
    context.close()


def test_teach_download_look_and_combine(
    page: Any, place: tuple[str, Workplace], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(teaching, "EFFORT", teaching.Effort(16, 8, 20, 16, 2))
    url, workplace = place
    opened(page, url)
    page.get_by_role("tab", name="Teach").click()
    page.get_by_label("With its values").fill("words(at_most=12)")
    page.wait_for_function("() => document.querySelector('.tt-asked')?.innerText.includes('12 words')")
    page.get_by_role("button", name="Teach", exact=True).click()
    page.wait_for_selector(".tt-is-working, .tt-is-done")
    page.wait_for_selector(".tt-is-done")
    assert page.locator("#tt-work polyline").count() == 2  # loss and followed
    assert faults(page) == []
    with page.expect_download() as begun:
        page.get_by_role("link", name="Download it (zip)").click()
    file = tmp_path / "taught.zip"
    begun.value.save_as(file)
    with zipfile.ZipFile(file) as archive:
        assert {"words-12/steering.json", "words-12/steering.safetensors"} <= set(archive.namelist())
    assert Steering.load(workplace.place / "words-12").record.instructions[0]["name"] == "words"

    page.get_by_role("button", name="Ask with it").click()
    page.wait_for_selector(".tt-picked li")
    page.get_by_label("Your question").fill("What is Blackwick?")
    page.get_by_role("button", name="Answer", exact=True).click()
    page.wait_for_selector('.tt-answers[aria-busy="false"] .tt-steered .tt-verdicts')

    page.get_by_role("tab", name="Look inside").click()
    page.get_by_role("button", name="Show the pushes").click()
    page.wait_for_selector(".tt-heat")
    assert page.locator(".tt-bars li").count() == workplace.engine.identity.blocks
    assert faults(page) == []

    page.get_by_role("tab", name="Combine").click()
    page.wait_for_function(
        "() => location.search === '?tab=combine' || location.search.endsWith('&tab=combine')"
    )
    page.get_by_role("button", name="Try them together").click()
    page.wait_for_selector("#tt-together .tt-note")
    assert "leave each other alone" in page.locator("#tt-together").inner_text()
    assert faults(page) == []
