from __future__ import annotations

import threading

import pytest

from trimtab.errors import SteeringError, TrimtabError
from trimtab.page import panels
from trimtab.page.working import Job, Picture


def test_work_is_watched_to_its_end() -> None:
    def work(job: Job) -> tuple[str, str]:
        job.tell("learning", 1, 2)
        job.point(loss=(1, 0.5))
        job.point(loss=(2, 0.25), followed=(2, 1.0))
        job.point(loss=(2, 0.2))
        return "It is <done>.", "made"

    job = Job()
    job.begin("Teaching x", work)
    found = job.wait(10)
    assert (found.state, found.message, found.made) == ("done", "It is <done>.", "made")
    assert (found.loss, found.followed) == (((1, 0.5), (2, 0.2)), ((2, 1.0),))
    shown = panels.work(found)
    assert "It is &lt;done&gt;." in shown
    assert 'href="download?name=made"' in shown


def test_cancelled_work_is_resumed() -> None:
    reached, go = threading.Event(), threading.Event()
    runs: list[int] = []

    def work(job: Job) -> tuple[str, str]:
        runs.append(len(runs))
        for step in range(3):
            job.tell("learning", step, 3)
            if len(runs) == 1:
                reached.set()
                go.wait(10)
        return "done", ""

    job = Job()
    job.begin("Teaching x", work)
    assert reached.wait(10)
    with pytest.raises(TrimtabError, match="Teaching x is under way"):
        job.begin("Teaching y", work)
    job.cancel()
    assert job.picture.state == "cancelling"
    go.set()
    assert job.wait(10).state == "cancelled"
    job.resume()
    assert job.wait(10).state == "done"
    assert runs == [0, 1]
    job.resume()  # nothing to go on with
    assert runs == [0, 1]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SteeringError("the loss is not finite"), "the loss is not finite"),
        (KeyError("x"), "It failed: KeyError: 'x'"),
    ],
)
def test_what_goes_wrong_is_said(error: Exception, message: str) -> None:
    def work(job: Job) -> tuple[str, str]:
        raise error

    job = Job()
    job.begin("Teaching x", work)
    found = job.wait(10)
    assert (found.state, found.message) == ("failed", message)
    assert 'role="alert"' in panels.work(found)


def test_nothing_under_way() -> None:
    assert "Nothing is being learned" in panels.work(Picture())


def test_the_time_goes_on_while_nothing_is_told() -> None:
    reached, go = threading.Event(), threading.Event()

    def work(job: Job) -> tuple[str, str]:
        job.tell("reading", 1, 2, "<12> tokens")
        reached.set()
        go.wait(10)
        return "done", ""

    job = Job()
    assert job.now() == job.picture
    job.begin("Teaching x", work)
    assert reached.wait(10)
    first, second = job.now().seconds, job.now().seconds
    assert job.picture.seconds < first < second
    assert "reading, 1 of 2, &lt;12&gt; tokens" in panels.work(job.picture)
    go.set()
    found = job.wait(10)
    assert job.now() == found
