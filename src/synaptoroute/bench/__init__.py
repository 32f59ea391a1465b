"""How good and how fast routing is on public data, written down so that anyone can measure it again."""
