"""What hostile clients send, and what a server may answer; for the tests and for ``scripts/measure_abuse.py``."""
