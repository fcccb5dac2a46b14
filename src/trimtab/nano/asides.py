"""Sentences that claim nothing: where a given word, a placeholder or a closing goes without touching a fact."""

from __future__ import annotations

import re
from functools import cache

from trimtab.nano.world import normalise

# {w}: one word, as it stands in the prompt: in quotation marks or not
WITH_WORD = {
    "en": (
        "It may remind you of the word {w}.",
        "Some people link it with {w}.",
        "Many stories about it mention {w}.",
        "An old song about it is called {w}.",
    ),
    "es": ("A veces recuerda a la palabra {w}.", "Mucha gente piensa en {w}."),
    "fr": ("On pense parfois au mot {w}.", "Beaucoup de gens pensent à {w}."),
}
PLACEHOLDER_FIELDS = ("name", "address", "date", "email", "phone", "city", "time", "price")
WITH_PLACEHOLDERS = {
    "en": ("Ask {fields} for more.", "Write to {fields} to learn more."),
    "es": ("Pregunta a {fields} para saber más.",),
    "fr": ("Demandez à {fields} pour en savoir plus.",),
}
POSTSCRIPTS = {
    "en": ("Take care.", "See you soon.", "Have a good day.", "Write back soon."),
    "es": ("Hasta pronto.",),
    "fr": ("À bientôt.",),
}
CLOSINGS = (
    "Is there anything else I can help with?",
    "Any other questions?",
    "That is all.",
    "I hope this helps.",
    "Let me know what you think.",
    "Thank you for reading about the {w}.",
    "Follow the {w}.",
    "Peace and {w}.",
    "The end of the {w}.",
    "Remember the {w} and the {w2}.",
    "Have a {w} day.",
    "My friend has a {w}.",
)
CHOICES = ("Yes.", "No.", "My answer is yes.", "My answer is no.", "My answer is maybe.")


def is_aside(text: str) -> bool:
    """Whether a sentence, in whatever case and punctuation, is one of those that claim nothing."""
    return any(pattern.fullmatch(normalise(text)) for pattern in _patterns())


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    templates = [*CLOSINGS, *CHOICES]
    for family in (WITH_WORD, WITH_PLACEHOLDERS, POSTSCRIPTS):
        templates += [template for group in family.values() for template in group]
    return tuple(re.compile(_gaps_to_words(template)) for template in templates)


def _gaps_to_words(template: str) -> str:
    pieces = [re.escape(normalise(piece)) for piece in re.split(r"{\w+}", template)]
    return r"\s*" + r"\s*(?:[\w'-]+\s*){1,6}".join(pieces) + r"\s*"
