"""What ARINT must reach, measured: one module a figure, results under `bench/results/`."""
