"""A judge behind an OpenAI-compatible endpoint: asked yes or no, with the likelihoods of both where it gives them.

Where the endpoint gives the most likely first tokens, the log-odds are those of all that begin like yes and like no; of
one that is not among them no more is known than that it is less likely than the last of them. Where it gives none, yes
and no are log-odds of 4 and -4 (about 98 to 2), and anything else is no answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trimtab.errors import TrimtabError
from trimtab.measure.judges.base import InstructionJudge, Store
from trimtab.measure.judges.client import address, asking, client
from trimtab.measure.judges.model import PROMPT
from trimtab.progress import Progress, shown

if TYPE_CHECKING:
    from trimtab.instructions import Question

_MOST_LIKELY = 20  # tokens; more than OpenAI's endpoints give
_LONGEST = 8  # tokens of an answer
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
        super().__init__(model, store=store)
        self.base_url = address(base_url)
        self._workers = workers
        self._client = client(self.base_url, api_key, timeout)
        self._gives_likelihoods = True

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
        choice = self._request(prompt)
        if choice is None:
            return None
        tokens = getattr(getattr(choice, "logprobs", None), "content", None)
        if tokens:
            odds = _of_likelihoods({one.token: one.logprob for one in tokens[0].top_logprobs or ()})
            if odds is not None:
                return odds
        word = _word(choice.message.content or "")
        return {"yes": _SURE, "no": -_SURE}.get(word)

    def _request(self, prompt: str) -> Any:
        import openai

        options: dict[str, Any] = {"temperature": 0.0, "max_tokens": _LONGEST}
        if self._gives_likelihoods:
            options |= {"logprobs": True, "top_logprobs": _MOST_LIKELY}
        try:
            reply = self._client.chat.completions.create(
                model=self.name, messages=[{"role": "user", "content": prompt}], **options
            )
        except openai.BadRequestError as error:
            # Some do not know likelihoods, and say so by refusing.
            if "logprobs" in options and "logprob" in str(error):
                self._gives_likelihoods = False
                return self._request(prompt)
            raise self._failed(error) from error
        except openai.OpenAIError as error:
            raise self._failed(error) from error
        return reply.choices[0] if reply.choices else None

    def _failed(self, error: Exception) -> TrimtabError:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        return TrimtabError(
            f"the judge {self.name} at {self.base_url or 'OpenAI'} failed: {error}{cause}; run it again when it answers"
        )


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
