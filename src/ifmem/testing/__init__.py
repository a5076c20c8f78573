"""Vendors' protocols on loopback, for tests and benchmarks: no key, no cost, their rules kept."""
