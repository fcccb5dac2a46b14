"""`python -m benchmarks.bad_days`: bad days, tried: damaged files, kills, full disks, odd machines."""
