"""Observability: what a router does, as events for hooks, metrics, traces, logs and records.

``hooks`` says how to attach; ``events`` what is told. ``prometheus``, ``otel`` and ``records`` are hooks that are ready
to use; ``logs`` sets up logging for a program. None of them has the text of a query unless it is asked to.
"""
