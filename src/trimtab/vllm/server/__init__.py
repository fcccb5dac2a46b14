"""vLLM's own server with steering: how it is started, and what is put around its application."""
