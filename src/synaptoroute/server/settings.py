"""ServerSettings: everything an operator may set, by the command line, the environment, or a file."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from synaptoroute.models import MAX_TEXT_CHARS
from synaptoroute.profile import OptimizationProfile
from synaptoroute.server.keys import KeyEntry

logger = logging.getLogger("synaptoroute.server")

PREFIX = "SYNAPTOROUTE_"

Words = Annotated[tuple[str, ...], NoDecode]
_MIB = 1 << 20


class ServerSettings(BaseSettings):
    """What the server may be told. See ``load_settings`` for where settings come from."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    host: str = Field(
        "127.0.0.1", min_length=1, description="Address to listen on; beyond loopback, keys are required."
    )
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on; 0 takes a free one and prints it.")

    db: Path | None = Field(None, description="SQLite file that holds the routes; made if it is missing.")
    postgres: SecretStr | None = Field(
        None, description="PostgreSQL connection string of the store of the routes, in place of a file."
    )
    postgres_schema: str = Field(
        "synaptoroute", description="Schema of that store, so that a database can hold several."
    )
    postgres_timeout_s: float = Field(
        4, gt=0, le=600, description="Longest wait for a connection to that store, and for each of its answers."
    )
    routes: Path | None = Field(
        None,
        description="JSON, JSON Lines, YAML or CSV file of routes: all there are without a store, else put into an "
        "empty one.",
    )
    redis: SecretStr | None = Field(
        None, description="Redis or Valkey address, redis://host:port, by which servers keep their routes the same."
    )
    redis_namespace: str = Field("default", description="Servers with the same one hold the same routes.")
    redis_key: SecretStr | None = Field(
        None, description="Secret of 16 characters or more that all of them share; changes without it are refused."
    )
    encoder: str = Field(
        "bundled",
        description="Texts to vectors: bundled, fastembed:MODEL or another of docs/encoders.md.",
    )
    min_confidence: float | None = Field(
        None, ge=0, le=1, description="Least confidence of an answer; unset leaves it to the calibration (0.5)."
    )
    profile: OptimizationProfile = Field(
        OptimizationProfile.BALANCED, description="How much of the machine one query may take."
    )
    cache_mib: int = Field(32, ge=0, le=65_536, description="Memory for vectors of texts asked lately, in MiB.")
    learn_before_ready_s: float = Field(
        30, ge=0, le=3_600, description="/readyz waits so long for learning from the routes after a start."
    )

    keys: Annotated[tuple[KeyEntry, ...], NoDecode] = Field(
        (), description="API keys as name:scope:sha256hex, apart by spaces or commas; see `synaptoroute keys new`."
    )
    keys_file: Path | None = Field(None, description="File with one such API key a line; # begins a comment.")
    allowed_hosts: Words = Field(
        (),
        description="Values of the Host header to answer to, without port; *.example.org stands for all below. Unset, "
        "names of loopback while listening there, and any with keys.",
    )
    trusted_proxies: Words = Field(
        (), description="Addresses or networks whose X-Forwarded-For is believed; unset, none."
    )
    tls_certificate: Path | None = Field(None, description="PEM file with the certificate chain; serves HTTPS.")
    tls_key: Path | None = Field(None, description="PEM file with the certificate's private key.")

    max_body_bytes: int = Field(_MIB, ge=1_024, le=64 * _MIB, description="Largest body of a request.")
    max_labelled_bytes: int = Field(8 * _MIB, ge=1_024, le=64 * _MIB, description="Largest body of fit and evaluate.")
    max_import_bytes: int = Field(64 * _MIB, ge=1_024, le=64 * _MIB, description="Largest body of an import.")
    max_texts: int = Field(256, ge=1, le=512, description="Most texts in one call of /v1/route.")
    max_text_chars: int = Field(MAX_TEXT_CHARS, ge=1, le=MAX_TEXT_CHARS, description="Most characters of a query.")
    max_top_k: int = Field(100, ge=1, le=10_000, description="Highest top_k.")
    max_in_flight: int = Field(
        1_024, ge=1, le=1_000_000, description="Requests being answered at once; more get 503 before they are read."
    )
    body_timeout_s: float = Field(30, gt=0, le=3_600, description="A request whose body takes longer gets 408.")
    deadline_ms: int = Field(10_000, ge=1, le=600_000, description="Deadline of routing where a call names none.")
    max_deadline_ms: int = Field(60_000, ge=1, le=600_000, description="Highest deadline_ms of a call.")
    rate_limit: str | None = Field(
        None, description="Requests of one client (key, else address), such as 100/second or 5000/minute; unset, any."
    )
    rate_limit_storage: SecretStr = Field(
        SecretStr("memory://"), description="Where requests are counted: memory://, or redis:// for several servers."
    )

    max_jobs: int = Field(100, ge=1, le=10_000, description="Jobs remembered, finished ones among them.")
    max_waiting_jobs: int = Field(8, ge=1, le=1_000, description="Jobs that may wait for their turn.")
    job_memory_s: float = Field(3_600, ge=1, description="How long a finished job can be looked up.")

    shutdown_grace_s: float = Field(
        5, ge=0, le=600, description="After SIGTERM, how long requests are still taken while /readyz says no."
    )
    drain_s: float = Field(30, ge=0, le=3_600, description="After that, how long accepted requests may take to finish.")
    keep_alive_s: int = Field(15, ge=1, le=600, description="How long an idle connection is kept.")
    head_timeout_s: float = Field(10, gt=0, le=600, description="A connection that takes longer to ask is closed.")
    max_connections: int = Field(4_096, ge=1, le=1_000_000, description="Connections at once; more are closed.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    access_log: bool = Field(False, description="Log each request: client, method, path without query, status.")  # noqa: FBT003
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="How logs are written; auto takes text on a terminal, else JSON lines."
    )
    metrics: bool = Field(True, description="Serve /metrics for Prometheus.")  # noqa: FBT003
    metrics_open: bool = Field(False, description="Answer /metrics without a key.")  # noqa: FBT003
    telemetry: bool = Field(
        False,  # noqa: FBT003
        description="Traces and metrics by OpenTelemetry; OTEL_EXPORTER_OTLP_ENDPOINT says where to.",
    )
    telemetry_queries: bool = Field(False, description="Write the texts of queries into traces.")  # noqa: FBT003
    records: Path | None = Field(None, description="JSON Lines file that gets a record of every decision.")
    records_queries: Literal["none", "hash", "text"] = Field(
        "none", description="What of a query is recorded: nothing, a hash made with records_key, or its text."
    )
    records_key: SecretStr | None = Field(None, description="Secret of 16 characters and more for hashes of queries.")
    records_mib: int = Field(64, ge=1, le=65_536, description="Size at which a file of records is full, in MiB.")
    records_files: int = Field(8, ge=0, le=10_000, description="Full files of records that are kept.")
    docs: bool = Field(True, description="Serve /docs and /openapi.json.")  # noqa: FBT003

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before the environment; the file comes in through ``load_settings``."""
        return init_settings, env_settings

    @field_validator("keys", mode="before")
    @classmethod
    def _listed_keys(cls, value: object) -> object:
        entries = re.split(r"[\s,]+", value.strip()) if isinstance(value, str) else value
        if not isinstance(entries, list | tuple):
            raise ValueError("wanted a list of name:scope:sha256hex")  # noqa: TRY004 - for pydantic
        return tuple(KeyEntry.parsed(entry) if isinstance(entry, str) else entry for entry in entries if entry)

    @field_validator("allowed_hosts", "trusted_proxies", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(filter(None, re.split(r"[\s,]+", value))) if isinstance(value, str) else value

    @field_validator("rate_limit", mode="after")
    @classmethod
    def _known_rate(cls, value: str | None) -> str | None:
        from limits import parse_many

        if value is not None:
            try:
                parse_many(value)
            except ValueError:
                raise ValueError("wanted a number per unit of time, such as 100/second or 5000/minute") from None
        return value

    @field_validator("db", "keys_file", "routes", "records", "tls_certificate", "tls_key", mode="after")
    @classmethod
    def _home(cls, value: Path | None) -> Path | None:
        return value.expanduser() if value is not None else None
