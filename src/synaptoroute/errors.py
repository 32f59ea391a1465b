"""One tree of errors. A message says what was seen, what was wanted, and what to do.

::

    SynaptoRouteError
    ├── InvalidInputError (ValueError)
    │   ├── InvalidQueryError          a text that cannot be routed
    │   ├── InvalidRouteError          a route, utterance or threshold that cannot be accepted
    │   ├── InvalidToolError           a tool that does not say what it is for, or a description that is broken
    │   └── InvalidSettingError        a setting of the server that cannot be accepted
    ├── RouteExistsError               add_route of a name that is taken
    ├── RouteNotFoundError (LookupError)
    ├── RevisionNotFoundError (LookupError)   not reached yet, or its history is forgotten
    ├── SnapshotNotFoundError (LookupError)
    ├── FeedbackNotFoundError (LookupError)
    ├── FeedbackFullError              all that there is room for waits for a decision
    ├── RouterClosedError              used after close() or stop()
    ├── RouterOverloadedError          more queries wait than its limits allow
    ├── DeadlineExceededError (TimeoutError)
    ├── MissingExtraError (ImportError)   an optional package is not installed
    ├── EncoderError                   the encoder failed
    │   ├── EncoderUnavailableError    its weights, package or server cannot be reached
    │   └── EncoderOutputError         it returned something other than finite (n, dim) rows
    ├── RerankerError                  a reranker failed; the router answers without it
    │   └── RerankerUnavailableError   its weights or package cannot be reached
    ├── RemoteError                    a server answered what a client has no other error for
    │   ├── RemoteUnavailableError     it cannot be reached, is not ready, or broke off
    │   ├── AccessDeniedError          it wants a key, or the key may not do this
    │   └── RateLimitedError           this client has asked more than its share
    ├── SyncError                      keeping replicas the same failed
    │   ├── SyncUnavailableError       the server cannot be reached, or did not answer in time
    │   └── SyncForeignError           a server or stream that can never be used like this
    └── StorageError                   the store failed
        ├── StorageCorruptError        damaged content
        ├── StorageForeignError        a file of something else, or of a newer SynaptoRoute
        ├── StorageInUseError          another process has the right to write
        ├── EncoderMismatchError       its vectors were written with another encoder
        └── RevisionConflictError      somebody else changed it meanwhile

An abstention is not an error: it is a Decision with ``name`` None.
"""

from __future__ import annotations


class SynaptoRouteError(Exception):
    """The root: everything this package raises on purpose."""


class InvalidInputError(SynaptoRouteError, ValueError):
    """What the caller passed cannot be accepted; nothing was changed."""


class InvalidQueryError(InvalidInputError):
    """The text cannot be routed: not a string, empty, too long, or not valid Unicode."""


class InvalidRouteError(InvalidInputError):
    """The route, one of its utterances or its threshold cannot be accepted."""


class InvalidToolError(InvalidInputError):
    """A tool, function, model or schema cannot be accepted; the message names the place."""


class InvalidSettingError(InvalidInputError):
    """A setting of the server cannot be accepted; the message names it and never shows a secret."""


class RouteExistsError(InvalidInputError):
    """A route of that name is already there."""


class RouteNotFoundError(SynaptoRouteError, LookupError):
    """No route has that name, or the route has no such utterance."""


class RevisionNotFoundError(SynaptoRouteError, LookupError):
    """The routes of that revision are not known: it has not been reached yet, or its history was forgotten."""


class SnapshotNotFoundError(SynaptoRouteError, LookupError):
    """No snapshot has that name."""


class RouterClosedError(SynaptoRouteError):
    """The router was closed; make a new one."""


class RouterOverloadedError(SynaptoRouteError):
    """More queries wait than the limits allow; this one was turned away before any work on it.

    Attributes:
        retry_after_s: When there should be room again, in seconds, going by how fast queries were answered lately.
        shed_for: What there was too much of: "queries", "tokens", or "oversize" for a call that has to wait alone.
    """

    def __init__(self, message: str, retry_after_s: float = 0.0, *, shed_for: str = "queries") -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.shed_for = shed_for


class DeadlineExceededError(SynaptoRouteError, TimeoutError):
    """The query was not answered within its deadline."""


class MissingExtraError(SynaptoRouteError, ImportError):
    """An optional package is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an extra package: pip install 'synaptoroute[{extra}]'")


class EncoderError(SynaptoRouteError):
    """The encoder failed to turn texts into vectors."""


class EncoderUnavailableError(EncoderError):
    """The encoder's weights, package or server cannot be reached."""


class EncoderOutputError(EncoderError):
    """The encoder returned something other than finite, non-zero rows of its dimension."""


class RerankerError(SynaptoRouteError):
    """A reranker failed to score texts, or scored them with something other than finite numbers."""


class RerankerUnavailableError(RerankerError):
    """The reranker's weights or package cannot be reached."""


class RemoteError(SynaptoRouteError):
    """A server answered what a client has no other error for.

    Attributes:
        status: The HTTP status; None if there was no answer.
        code: The word by which the server names the problem, if it gave one.
        request_id: By which the server's logs name the request, if it is known.
    """

    def __init__(
        self, message: str, *, status: int | None = None, code: str | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id


class RemoteUnavailableError(RemoteError):
    """The server cannot be reached, is not ready to answer, or broke off; what was asked may have been done.

    Attributes:
        retry_after_s: When it may be ready, in seconds; 0 if it did not say.
        unsent: There was no connection, so that nothing was asked.
    """

    retry_after_s: float = 0.0
    unsent: bool = False


class AccessDeniedError(RemoteError):
    """The server wants a key, or does not know this one, or the key's scopes do not cover the call."""


class RateLimitedError(RemoteError):
    """This client has asked more than its share.

    Attributes:
        retry_after_s: When it may ask again, in seconds.
    """

    retry_after_s: float = 0.0


class SyncError(SynaptoRouteError):
    """Keeping replicas the same failed; each goes on with what it has."""


class SyncUnavailableError(SyncError):
    """The server cannot be reached, did not answer in time, or cannot write just now. It is tried again."""


class SyncForeignError(SyncError):
    """A server that is too old or refuses us, or keys of something else or of another encoder. Not tried again."""


class StorageError(SynaptoRouteError):
    """The store could not be read or written; what was acknowledged before is still there."""


class StorageCorruptError(StorageError):
    """The store's content is damaged."""


class StorageForeignError(StorageError):
    """The file belongs to something else, or was written by a newer version."""


class StorageInUseError(StorageError):
    """Another process has the right to write to the store.

    Attributes:
        pid: Its process id, if it is known.
    """

    def __init__(self, message: str, pid: int | None = None) -> None:
        super().__init__(message)
        self.pid = pid


class EncoderMismatchError(StorageError):
    """The stored vectors were written with another encoder and cannot be compared with this one's."""


class RevisionConflictError(StorageError):
    """The store holds another revision than the change was based on."""


class FeedbackNotFoundError(SynaptoRouteError, LookupError):
    """No feedback has that number, or it was forgotten."""


class FeedbackFullError(SynaptoRouteError):
    """As much feedback as there is room for waits for a decision."""
