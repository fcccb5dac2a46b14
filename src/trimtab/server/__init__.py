"""The server that comes with the package: OpenAI's API on the transformers engine, each request with its own steering."""
