"""What the embedded server shares with vLLM's."""

from tests.serve.conformance import Conformance


class TestConformance(Conformance):
    """All of it."""
