"""How fast routing is under load, how it scales and changes: what is measured, and what is written down."""
