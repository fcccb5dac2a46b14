"""The side of vLLM that takes requests."""
