"""No test here fails for being slow: the first detection of a language alone takes longer than hypothesis grants."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")
