"""`python -m benchmarks.serving`: what steering costs a server, as a ratio to vLLM without the plugin, in one run."""
