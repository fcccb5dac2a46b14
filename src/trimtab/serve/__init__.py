"""Serving: an OpenAI-compatible server in which every request chooses its steering."""
