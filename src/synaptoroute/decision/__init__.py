"""From evidence to a decision: pure NumPy, no I/O, no clock, no locks."""
