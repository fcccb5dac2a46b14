"""Steering on vLLM: a plug-in that serves every request its own, and an engine over it."""
