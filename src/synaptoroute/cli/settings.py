"""The settings that commands share: what they are called on the command line, in the environment and in a file.

A key ``min_confidence`` of the file is the variable ``SYNAPTOROUTE_MIN_CONFIDENCE`` and fills every option that
declares that variable. What is given on the command line goes before the environment, that before the file, and that
before the default.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from synaptoroute.cli.configured import CONFIG_VARIABLE
from synaptoroute.profile import OptimizationProfile

#: Variables that are no settings: where the settings are, what completion uses, and folders of downloads.
OTHER_VARIABLES = (CONFIG_VARIABLE, "SYNAPTOROUTE_CACHE")
#: The table of the file that belongs to ``serve``.
SERVER = "server"

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Settings(BaseModel):
    """What the file may say outside its table ``[server]``. Paths are relative to the file's folder."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    db: Path = Path("routes.db")
    """The SQLite file that holds the routes."""
    routes: Path | None = None
    """A file of routes to decide by, for commands that need no store."""
    encoder: str = "bundled"
    """What turns texts into vectors: bundled, fastembed:MODEL or another of docs/encoders.md."""
    profile: OptimizationProfile = OptimizationProfile.BALANCED
    """How much of the machine one query may take: latency, balanced or throughput."""
    min_confidence: Probability | None = None
    """Least probability of being right; without it 0.5, or what was fitted."""
    url: str = "http://127.0.0.1:8000"
    """The server that top and watch speak to."""
    api_key: SecretStr | None = None
    """The key that is shown to that server."""
    data: Path | None = None
    """The folder with the data sets of bench."""
    quiet: bool = False
    """Print neither notes nor progress, only data and errors."""


Source = Literal["environment", "file", "default"]


def is_secret(key: str) -> bool:
    """Whether the value of a setting is never shown."""
    return Settings.model_fields[key].annotation == SecretStr | None


def plain(value: Any) -> Any:
    """The value as JSON has it, secrets masked."""
    if isinstance(value, SecretStr):
        return "********"
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | None) and not isinstance(value, StrEnum) else str(value)
