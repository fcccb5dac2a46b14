"""The side of vLLM that runs the model."""
