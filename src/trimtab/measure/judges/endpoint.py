"""A judge behind an OpenAI-compatible endpoint: asked yes or no, with the likelihoods of both where it gives them.

Where the endpoint gives the most likely first tokens, the log-odds are those of all that begin like yes and like no; of
one that is not among them no more is known than that it is less likely than the last of them. Where it gives none, yes
and no are log-odds of 4 and -4 (about 98 to 2), and anything else is no answer. One that thinks first is asked again
with room for its thought, and taken at its word.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trimtab import arguments
from trimtab.errors import TrimtabError
from trimtab.measure.judges.base import InstructionJudge, Store
from trimtab.measure.judges.client import Endpoint, RefusedError, Reply, address, asking
from trimtab.measure.judges.model import PROMPT
from trimtab.progress import Progress, shown
from trimtab.thoughts.texts import answer_of

if TYPE_CHECKING:
    from trimtab.instructions import Question

_MOST_LIKELY = 20  # tokens; more than OpenAI's endpoints give
_LONGEST = 8  # tokens of an answer
_THINKING = 2048  # of one that thinks before
_MODERN = "max_completion_tokens"  # what newer endpoints call the limit, and others do not know
_SURE = 4.0


class EndpointJudge(InstructionJudge):
    """A model behind an endpoint as a judge.

    Args:
        model: The endpoint's name of the model.
        base_url: The endpoint, such as `http://localhost:8000/v1`; None takes `OPENAI_BASE_URL`, else OpenAI's own.
        api_key: Its key; None takes `OPENAI_API_KEY`. An endpoint of one's own usually asks for none.
        store: Where what was said is kept for later runs, so that nothing is paid twice.
        workers: Requests at a time.
        timeout: Seconds until a request is given up; it is then tried again, twice.

    Raises:
        TrimtabError: The `openai` client is not installed, or there is no key.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        store: Store | None = None,
        workers: int = 8,
        timeout: float = 120.0,
    ) -> None:
        super().__init__(arguments.text(model, "model", TrimtabError), store=store)
        for option, value in (("base_url", base_url), ("api_key", api_key)):
            if value is not None:
                arguments.text(value, option, TrimtabError)
        workers = arguments.whole(workers, "workers", TrimtabError, least=1)
        timeout = arguments.positive(timeout, "timeout", TrimtabError)
        self.base_url = address(base_url)
        self._workers = workers
        self._endpoint = Endpoint(model, self.base_url, api_key, timeout)
        self._optional: dict[str, Any] = {"temperature": 0.0, "logprobs": True, "top_logprobs": _MOST_LIKELY}
        self._limit = "max_tokens"

    def key(self) -> Mapping[str, Any]:
        """The endpoint, the model and the prompt."""
        return {"judge": {"endpoint": self.base_url, "model": self.name}, "prompt": PROMPT}

    def ask(
        self, question: Question, responses: Sequence[str], *, progress: Progress = False
    ) -> list[float | None]:
        """See `InstructionJudge.ask`.

        Raises:
            TrimtabError: The endpoint cannot be reached, or refuses.
        """
        prompts = [PROMPT.format(response=one.strip(), question=question.text) for one in responses]
        found: list[float | None] = []
        with shown(progress) as tell, asking(self._workers) as pool:
            for odds in pool.map(self._odds, prompts):
                found.append(odds)
                tell(f"judging by {self.name}", len(found), len(prompts))
        return found

    def _odds(self, prompt: str) -> float | None:
        reply = self._request(prompt, _LONGEST)
        answer = answer_of(reply.text)
        thinks = reply.cut_off and (answer is None or not reply.text.strip())
        if thinks:
            reply = self._request(prompt, _THINKING)
            answer = answer_of(reply.text)
        # The first tokens of one that thinks are those of the thought, also where the endpoint shows the answer alone.
        odds = None if thinks or answer != reply.text else _of_likelihoods(reply.first)
        if odds is None:
            odds = {"yes": _SURE, "no": -_SURE}.get(_word(answer or ""))
        if odds is None:
            self.unread = reply.text
        return odds

    def _request(self, prompt: str, tokens: int) -> Reply:
        """One reply. What the endpoint does not know, and says so by refusing, is left out from then on."""
        while True:
            optional = dict(self._optional)
            options = {self._limit: tokens, **optional}
            try:
                return self._endpoint.ask(prompt, **options)
            except RefusedError as refused:
                said = str(refused)
                if "logprob" in said and "logprobs" in optional:
                    self._optional = {"temperature": 0.0} if "temperature" in optional else {}
                elif "temperature" in said and "temperature" in optional:
                    self._optional = {
                        name: value for name, value in optional.items() if name != "temperature"
                    }
                elif _MODERN in said and self._limit != _MODERN:
                    self._limit = _MODERN
                elif {self._limit: tokens, **self._optional} == options:
                    raise


def _of_likelihoods(most_likely: Mapping[str, float]) -> float | None:
    """Log-odds of yes of the most likely first tokens; None where neither yes nor no is among them."""
    sides = {
        side: [likely for token, likely in most_likely.items() if _word(token) == side]
        for side in ("yes", "no")
    }
    if not any(sides.values()):
        return None
    least = min(most_likely.values())
    yes, no = (_log_sum(sides[side] or [least]) for side in ("yes", "no"))
    return yes - no


def _log_sum(logs: Sequence[float]) -> float:
    most = max(logs)
    return most + math.log(sum(math.exp(one - most) for one in logs))


def _word(text: str) -> str:
    """The first word, in small letters and without marks."""
    words = "".join(one if one.isalpha() else " " for one in text.lower()).split()
    return words[0] if words else ""
