"""What encoders on other machines share: requests within limits, several under way at once, answers held to a shape."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from urllib.parse import urlsplit

import numpy as np

from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderOutputError, InvalidInputError

#: Requests of one call that are under way at once. More get most services' 429 rather than speed.
CONCURRENCY = 4


def encode_remotely(
    texts: Sequence[str],
    dim: int,
    ask: Callable[[list[str]], Vectors],
    *,
    most: int,
    most_bytes: int,
    concurrency: int = CONCURRENCY,
) -> Vectors:
    """The rows of all texts, float32 (len(texts), dim), asked for in as many requests as it takes.

    A call of one request is made in the calling thread. The first request to fail ends the call; those that have not
    begun by then are never made.

    Args:
        texts: Any number.
        dim: Length of a row.
        ask: One request: texts to rows.
        most: Texts in a request.
        most_bytes: Bytes in a request; a larger text goes alone.
        concurrency: Requests under way at once.
    """
    vectors = np.empty((len(texts), dim), np.float32)
    parts = list(requests(texts, most, most_bytes))
    if len(parts) == 1 or concurrency == 1:
        for part in parts:
            vectors[part] = ask(list(texts[part]))
    elif parts:
        pool = ThreadPoolExecutor(min(concurrency, len(parts)), thread_name_prefix="synaptoroute-remote")
        try:
            for part, rows in zip(parts, pool.map(lambda part: ask(list(texts[part])), parts), strict=True):
                vectors[part] = rows
        finally:
            pool.shutdown(cancel_futures=True)
    return vectors


def requests(texts: Sequence[str], most: int, most_bytes: int) -> Iterator[slice]:
    """Consecutive slices of at most ``most`` texts and ``most_bytes`` bytes; a larger text goes alone."""
    start, size = 0, 0
    for row, text in enumerate(texts):
        text_bytes = len(text.encode())
        if row > start and (row - start == most or size + text_bytes > most_bytes):
            yield slice(start, row)
            start, size = row, 0
        size += text_bytes
    if texts:
        yield slice(start, len(texts))


def unit_rows(embeddings: Sequence[object], count: int, dim: int, *, server: str, name: str) -> Vectors:
    """What a server answered, as unit rows, float32 (count, dim).

    Raises:
        EncoderOutputError: They are not ``count`` finite vectors of length ``dim`` other than zero.
    """
    if len(embeddings) != count:
        raise EncoderOutputError(f"{server} answered with {len(embeddings)} vectors for {count} texts")
    vectors = np.empty((count, dim), np.float32)
    for row, embedding in enumerate(embeddings):
        vectors[row] = one_row(embedding, dim, server=server, name=name)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        raise EncoderOutputError(f"{server} answered with a NaN, infinite or zero vector")
    unit: Vectors = vectors / lengths
    return unit


def one_row(embedding: object, dim: int, *, server: str, name: str) -> Vectors:
    """One vector, float32 (dim,). Raises EncoderOutputError."""
    try:
        vector: Vectors = np.asarray(embedding, np.float32)
    except (TypeError, ValueError) as exc:
        raise EncoderOutputError(f"{server} answered with something else than vectors: {exc}") from exc
    if vector.shape != (dim,):
        raise EncoderOutputError(
            f"{server} answered with a vector of shape {vector.shape}, wanted ({dim},); "
            f"pass dim=<the length {name} has there>"
        )
    return vector


def check_limits(concurrency: int, batch_size: int, most: int) -> None:
    """Raises InvalidInputError if an argument is out of its range."""
    if not 1 <= batch_size <= most:
        raise InvalidInputError(f"batch_size is {batch_size}, wanted 1 to {most:,}")
    if concurrency < 1:
        raise InvalidInputError(f"concurrency is {concurrency}, wanted at least 1")


def spare_key(base_url: str | None, variable: str) -> str | None:
    """Clients insist on a key, and a server on this machine mostly wants none; None if ``variable`` has one."""
    host = urlsplit(base_url or "").hostname
    if os.environ.get(variable) or not host:
        return None
    try:
        local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        local = False
    return "not-needed" if local else None


def host_of(url: str) -> str:
    """Host and port of a URL, without the credentials it may carry."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or "the given client"
