"""`python -m benchmarks.gpu`: a day with a GPU in ten minutes, part after part, with JSON after each."""
