"""Benchmarks: each prints a ratio, medians of five interleaved runs. Run them with ``make bench``."""
