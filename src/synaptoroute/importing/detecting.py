"""Which format a file has, by what is in it."""

from __future__ import annotations

from typing import Any

from synaptoroute.errors import InvalidInputError
from synaptoroute.importing.contents import FileContent, FileTree
from synaptoroute.importing.rows import ROUTE_COLUMNS, TEXT_COLUMNS

_AGENT = "agent.json"
_USERSAYS = "_usersays_"


def root_of(files: FileTree) -> str | None:
    """Where the uppermost ``agent.json`` is: a path that ends with a slash, or nothing; None if there is none."""
    found = [name for name in files.names if name == _AGENT or name.endswith(f"/{_AGENT}")]
    if not found:
        return None
    return min(found, key=lambda name: (name.count("/"), name)).removesuffix(_AGENT)


def format_of_tree(files: FileTree) -> str:
    """The format of a folder or archive. Raises InvalidInputError if it is none of the known ones."""
    root = root_of(files)
    if root is not None:
        agent = files.document(f"{root}{_AGENT}")
        is_cx = isinstance(agent, dict) and ("defaultLanguageCode" in agent or "startFlow" in agent)
        if not is_cx or any(_USERSAYS in name for name in files.names):
            return "dialogflow-es"
        return "dialogflow-cx"
    if any(name.endswith((".yml", ".yaml")) for name in files.names):
        return "rasa"
    raise InvalidInputError(
        "it has neither the agent.json of a Dialogflow agent nor a YAML file of Rasa; name the folder or the archive "
        "of the export itself"
    )


def format_of_file(content: FileContent) -> str | None:
    """The format by the first bytes or the extension alone; None if it takes a look at the document."""
    if content.data.startswith(b"PAR1") or content.suffix == ".parquet":
        return "parquet"
    if content.suffix in (".csv", ".tsv"):
        return "csv"
    if content.suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    return None


def format_of_document(document: Any) -> str:
    """The format by the keys of the document. Raises InvalidInputError if it is none of the known ones."""
    if isinstance(document, list):
        return _format_of_list(document)
    if not isinstance(document, dict):
        raise InvalidInputError("wanted a mapping or a list of mappings; this is neither")
    if "nlu" in document or "rasa_nlu_data" in document:
        return "rasa"
    if "router_type" in document:
        return "semantic-router-1"
    if "encoder_type" in document:
        return "semantic-router-0"
    routes = document.get("routes", document.get("tiers"))
    if "vectorizer" in document or _has(routes, "references"):
        return "redisvl"
    if isinstance(routes, list):
        return _format_of_list(routes)
    if "trainingPhrases" in document or "userSays" in document:
        raise InvalidInputError("this is one file of a Dialogflow agent; name the whole export, as a zip or a folder")
    keys = ", ".join(repr(str(key)[:40]) for key in list(document)[:10]) or "none"
    raise InvalidInputError(f"its format is not known by its keys, which are {keys}; say it (--format)")


def _format_of_list(entries: list[Any]) -> str:
    if _has(entries, "references"):
        return "redisvl"
    if _has(entries, "utterances"):
        if _has(entries, "score_threshold") or _has(entries, "function_schemas"):
            return "semantic-router-0"
        return "semantic-router-1" if _has(entries, "confidence_threshold") else "synaptoroute"
    if _has(entries, *TEXT_COLUMNS) and _has(entries, *ROUTE_COLUMNS):
        return "json"
    raise InvalidInputError(
        "its format is not known: wanted routes, or objects with a text and a route; say it (--format)"
    )


def _has(entries: Any, *keys: str) -> bool:
    return isinstance(entries, list) and any(
        isinstance(each, dict) and any(key in each for key in keys) for each in entries
    )
