"""API keys: made, kept as hashes, and compared as bytes."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from synaptoroute.errors import InvalidInputError, InvalidSettingError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Scope(IntEnum):
    """What a key may do; each scope includes those before it."""

    READ = 1
    WRITE = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As it is written in settings and answers."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key as settings hold it: who has it, what it may do, and its SHA-256.

    A fast hash is enough here: keys are 256 random bits, which nobody finds by trying.
    """

    name: str
    scope: Scope
    digest: bytes = field(repr=False)

    @classmethod
    def parsed(cls, line: str) -> KeyEntry:
        """The key of ``name:scope:sha256hex``. Raises ValueError, whose message does not repeat the hash."""
        parts = line.strip().split(":")
        if len(parts) != 3:
            raise ValueError("an API key is written name:scope:sha256hex; make one with `synaptoroute keys new`")
        name, scope, digest = parts
        if not _NAME.fullmatch(name):
            raise ValueError("the name of an API key has 1 to 64 letters, digits, . _ - and begins with the former two")
        if scope.upper() not in Scope.__members__:
            raise ValueError(f"the scope of API key {name!r} is unknown, wanted read, write or admin")
        if not _DIGEST.fullmatch(digest.lower()):
            raise ValueError(
                f"API key {name!r} has no SHA-256 of 64 hexadecimal digits; never write the key itself into settings"
            )
        return cls(name, Scope[scope.upper()], bytes.fromhex(digest))

    @property
    def line(self) -> str:
        """As settings have it."""
        return f"{self.name}:{self.scope.word}:{self.digest.hex()}"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. Without any keys everybody may do everything, and has no name.

    Attributes:
        name: Of the key; None without keys.
        scope: What it may do.
    """

    name: str | None
    scope: Scope

    @property
    def actor(self) -> str:
        """Who changes routes, for the history."""
        return self.name or "http"


ANYBODY = Caller(None, Scope.ADMIN)


def new_key(name: str, scope: Scope) -> tuple[str, KeyEntry]:
    """A fresh key and its entry for the settings. Raises InvalidInputError for a name that cannot be used."""
    key = f"sr_{secrets.token_urlsafe(32)}"
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"{name[:64]!r} cannot name a key: 1 to 64 letters, digits, . _ -, beginning with a letter or digit"
        )
    return key, KeyEntry(name, scope, hashlib.sha256(key.encode()).digest())


def read_keys(file: Path) -> tuple[KeyEntry, ...]:
    """The keys of a file, one a line. Raises InvalidSettingError, which names the line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidSettingError(
            f"setting keys_file: cannot read {file}; check its path, rights and encoding"
        ) from exc
    entries = []
    for number, line in enumerate(lines, start=1):
        content = line.partition("#")[0].strip()
        if content:
            try:
                entries.append(KeyEntry.parsed(content))
            except ValueError as exc:
                raise InvalidSettingError(f"setting keys_file: {file}, line {number}: {exc}") from None
    return tuple(entries)


class KeyRing:
    """The keys that are accepted; several at once, so that one can be replaced without a gap.

    Args:
        entries: From the settings.
        file: With more of them; None for no file.

    Raises:
        InvalidSettingError: Two keys have the same name or the same hash, or the file cannot be read.
    """

    def __init__(self, entries: Iterable[KeyEntry], file: Path | None = None) -> None:
        self._entries = (*entries, *(read_keys(file) if file is not None else ()))
        for what, values in (
            ("name", [entry.name for entry in self._entries]),
            ("hash", [entry.digest for entry in self._entries]),
        ):
            if len(set(values)) != len(values):
                raise InvalidSettingError(f"settings keys and keys_file: two API keys have the same {what}; remove one")

    def __len__(self) -> int:
        return len(self._entries)

    def caller(self, key: bytes | None) -> Caller | None:
        """Who has that key; None if nobody. All entries are compared, each in constant time."""
        if not self._entries:
            return ANYBODY
        if not key:
            return None
        digest = hashlib.sha256(key).digest()
        found = None
        for entry in self._entries:
            if hmac.compare_digest(entry.digest, digest):
                found = entry
        return Caller(found.name, found.scope) if found else None
