"""The server that comes with the package: OpenAI's API on the transformers engine, a steering for each request."""
