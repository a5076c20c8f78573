"""Benchmarks: each measures its baselines in the same run and keeps its raw samples."""
