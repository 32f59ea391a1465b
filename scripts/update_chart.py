"""Bring the settings that the Helm chart accepts in line with those of the server: ``python scripts/update_chart.py``.

With --check it writes nothing, and exits with 1 if the two differ.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from synaptoroute.server import ServerSettings

SCHEMA = Path(__file__).parents[1] / "deploy" / "helm" / "synaptoroute" / "values.schema.json"
#: What the chart sets by values of its own.
CHART = {"host", "port", "db", "redis_namespace", "keys", "keys_file", "routes", "shutdown_grace_s", "drain_s"}


def settings() -> list[str]:
    """The settings that may stand in a ConfigMap, in alphabetical order: secrets may not."""
    secrets = {name for name, info in ServerSettings.model_fields.items() if "SecretStr" in str(info.annotation)}
    return sorted(set(ServerSettings.model_fields) - CHART - secrets)


def main() -> int:
    """Write the schema anew, or check it."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["properties"]["settings"]["propertyNames"]["enum"] = settings()
    text = json.dumps(schema, indent=2) + "\n"
    if text == SCHEMA.read_text(encoding="utf-8"):
        return 0
    if "--check" in sys.argv:
        print(f"{SCHEMA.name} and the server's settings differ; run python scripts/update_chart.py")
        return 1
    SCHEMA.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
