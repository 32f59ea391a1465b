"""Batching: many callers' texts, few calls of the encoder. Bounded, fair, cancellable, with deadlines.

``batcher`` is what callers see, ``crew`` the threads that work for them, ``queue`` the rules of whose turn it is.
``gathering`` does without threads what takes microseconds.
"""

from synaptoroute.batching.batcher import Batcher
from synaptoroute.batching.gathering import Gathering
from synaptoroute.batching.limits import BatcherHealth, BatchLimits, batch_limits

__all__ = ["Batcher", "BatcherHealth", "BatchLimits", "Gathering", "batch_limits"]
