"""When a steering acts: what a prompt must be like, decided for each row before anything is written.

A `When` is data, as an edit's `tokens` are about *where*. It looks at the prompt alone, never at what was generated and
never at the steered model, so that the same prompt always gets the same decision, in any batch and on any engine.
Deciding is apart from applying: an engine decides first (`Engine.decided`), and then applies what is left.

- `Matches`: the prompt's text matches a regular expression.
- `Resembles`: the prompt's activations point along a learned direction (`trimtab.learn.when`).
- `Cast`: the same by what CAST's own code compares.
- `Rule`: a Python function says so. It cannot be saved.
- `AllOf`, `AnyOf`, `Not`: put together with `&`, `|` and `~`.
- Another package's own: a frozen dataclass that is a `When` with a `kind`, `holds` and `describe`, and one line that
  names it, an entry point of that kind in the group `trimtab.whens`. It is then saved and loaded like these.
"""

from trimtab.steering.when.base import AllOf, AnyOf, Not, Prompt, Reader, ReadTokens, When, prompt_text
from trimtab.steering.when.cast import Cast
from trimtab.steering.when.resembles import Resembles
from trimtab.steering.when.rules import Matches, Rule

__all__ = [
    "AllOf",
    "AnyOf",
    "Cast",
    "Matches",
    "Not",
    "Prompt",
    "ReadTokens",
    "Reader",
    "Resembles",
    "Rule",
    "When",
    "prompt_text",
]
