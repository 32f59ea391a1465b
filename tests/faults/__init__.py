"""Faults on purpose, in child processes: writers that are killed, I/O that fails, files that are damaged."""
