"""Texts written or rewritten by rule: every one is made for this project."""
