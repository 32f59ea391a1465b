"""A typed client of SynaptoRoute's server, for threads and for event loops.

>>> from synaptoroute.client import Client
>>> with Client("http://127.0.0.1:8000") as client:
...     decision = client.route("what's my current balance?")

``Client`` and ``AsyncClient`` have the same calls, which give what the router's calls of the same names give: the same
``Decision``, ``Evaluation`` and ``FitReport``, the same errors. ``pip install 'synaptoroute[client]'``.
"""

from synaptoroute.client.answers import Explained, ImportReport, Job, LintReport, RouteInfo, RoutePage, Status
from synaptoroute.client.asynchronous import AsyncClient
from synaptoroute.client.blocking import Client
from synaptoroute.client.retrying import Retries

__all__ = [
    "Client",
    "AsyncClient",
    "Retries",
    "RouteInfo",
    "RoutePage",
    "Explained",
    "ImportReport",
    "Job",
    "LintReport",
    "Status",
]
