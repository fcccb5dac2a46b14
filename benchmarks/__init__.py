"""What is measured of trimtab, one command each: `python -m benchmarks.NAME`."""
