"""Families of samples as prometheus-client takes them from a collector. Names begin with ``synaptoroute_``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from synaptoroute.observability.tally import Histogram

if TYPE_CHECKING:
    from prometheus_client.core import Metric

#: Values of the labels, or of the only one.
Labels = tuple[str, ...] | str


def counter(name: str, help_text: str, value: float) -> Metric:
    """A counter; ``_total`` is added to its name."""
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(f"synaptoroute_{name}", help_text, value=value)


def counter_by(
    name: str, help_text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], int] | Mapping[str, int]
) -> Metric:
    """A counter with labels."""
    from prometheus_client.core import CounterMetricFamily

    family = CounterMetricFamily(f"synaptoroute_{name}", help_text, labels=labels)
    for given, count in values.items():
        family.add_metric([given] if isinstance(given, str) else given, count)
    return family


def gauge(name: str, help_text: str, value: float | None) -> Metric:
    """A gauge; without a sample if there is no value: 0 would say something else."""
    return gauge_by(name, help_text, (), {} if value is None else {(): value})


def gauge_by(name: str, help_text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    """A gauge with labels."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"synaptoroute_{name}", help_text, labels=labels)
    for given, value in values.items():
        family.add_metric(given, value)
    return family


def histogram(name: str, help_text: str, found: Histogram) -> Metric:
    """A histogram."""
    return _histogram(name, help_text, (), {(): found})


def histogram_by(name: str, help_text: str, label: str, found: Mapping[str, Histogram]) -> Metric:
    """A histogram for each value of a label."""
    return _histogram(name, help_text, (label,), {(value,): each for value, each in found.items()})


def _histogram(
    name: str, help_text: str, labels: tuple[str, ...], found: Mapping[tuple[str, ...], Histogram]
) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(f"synaptoroute_{name}", help_text, labels=labels)
    for given, each in found.items():
        family.add_metric(given, each.cumulative(), each.sum)
    return family
