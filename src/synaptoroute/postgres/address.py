"""Where a database is, said without its password."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from synaptoroute.errors import InvalidInputError

_PORTS = re.compile(r"\d*(,\d*)*")
_HINT = (
    "wanted postgresql://user:password@host:5432/database or 'host=... dbname=... user=... password=...'; in a URL, "
    "write @ / : # % in a password as %40 %2F %3A %23 %25"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A connection string, checked, that shows no secret.

    Attributes:
        dsn: As it was given; not shown.
        shown: Host, port and database, for messages.
    """

    dsn: str = field(repr=False)
    shown: str
    _secrets: tuple[str, ...] = field(repr=False, default=())

    @classmethod
    def parsed(cls, dsn: str) -> Address:
        """The address that a connection string names; what it leaves out comes from libpq's environment.

        Raises:
            InvalidInputError: It cannot be read, or a piece of a password seems to have ended up in another place. The
                message repeats nothing of it.
        """
        try:
            fields = conninfo_to_dict(dsn)
        except (ProgrammingError, UnicodeError):
            # libpq's own message quotes what it stumbled over, which may be the password.
            raise InvalidInputError(f"the PostgreSQL connection string cannot be read; {_HINT}") from None
        host, database = str(fields.get("host") or ""), str(fields.get("dbname") or "")
        if "@" in host or "@" in database or not _PORTS.fullmatch(str(fields.get("port") or "")):
            raise InvalidInputError(f"the PostgreSQL connection string has no proper host, port and database; {_HINT}")
        shown = f"{host or 'localhost'}:{fields.get('port') or 5432}/{database}"
        secrets = tuple(str(fields[key]) for key in ("password", "sslpassword") if fields.get(key))
        return cls(dsn, shown, secrets)

    def without_secrets(self, message: object) -> str:
        """The message on one line, with passwords struck out should a driver have quoted them."""
        text = " ".join(str(message).split())
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text
