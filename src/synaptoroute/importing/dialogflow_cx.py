"""Agents of Dialogflow CX in the JSON package format, as a zip archive or unpacked into a folder.

``agent.json`` names the language, ``intents/NAME/NAME.json`` an intent by its display name, and
``intents/NAME/trainingPhrases/LANGUAGE.json`` its training phrases in parts.
"""

from __future__ import annotations

from urllib.parse import unquote

from synaptoroute.importing.collecting import Collector
from synaptoroute.importing.contents import FileTree
from synaptoroute.importing.dialogflow import INTENTS, Listed, joined, kept_out, language_of, require_phrases
from synaptoroute.importing.records import Imported
from synaptoroute.importing.shapes import mapping, mappings

_PHRASES = "trainingPhrases"
#: Folders of what has no counterpart.
_BESIDE = ("entityTypes/", "webhooks/", "playbooks/", "tools/", "generators/", "testCases/")


def read(files: FileTree, root: str, language: str | None = None) -> Imported:
    """The intents that have training phrases, as routes. Takes and raises what ``dialogflow_es.read`` does."""
    found = Collector("dialogflow-cx")
    agent = mapping(files.document(f"{root}agent.json"), f"{root}agent.json")
    wanted = language_of(agent, "defaultLanguageCode", language)
    listed = _listed(files, root, wanted)
    require_phrases(found, listed, wanted)
    if any(name.startswith(f"{root}flows/") for name in files.names):
        found.warn(
            "flows",
            "flows/",
            "flows and pages say in which state of a conversation an intent counts, and are not carried; name the "
            "routes that may be chosen with allow=[…] when you ask",
        )
    for folder in _BESIDE:
        if any(name.startswith(root + folder) for name in files.names):
            found.inform(folder.rstrip("/"), folder, "this folder is not carried")
    for key in listed.keys:
        _intent(found, files, key, listed)
    return found.finish()


def _listed(files: FileTree, root: str, wanted: str) -> Listed:
    listed = Listed()
    for name in files.names:
        if not name.startswith(root + INTENTS) or not name.endswith(".json"):
            continue
        parts = name.removeprefix(root + INTENTS).split("/")
        if len(parts) == 2 and parts[1] == f"{parts[0]}.json":
            listed.intents[parts[0]] = name
        elif len(parts) == 3 and parts[1] == _PHRASES:
            listed.add(parts[0], parts[2].removesuffix(".json"), wanted, name)
    return listed


def _intent(found: Collector, files: FileTree, key: str, listed: Listed) -> None:
    intent_file, phrases_file = listed.intents.get(key), listed.phrases.get(key)
    intent = mapping(files.document(intent_file), intent_file) if intent_file else {}
    place = intent_file or phrases_file or key
    texts = _phrases(files, phrases_file) if phrases_file else []
    if kept_out(found, place, texts, fallback=bool(intent.get("isFallback"))):
        return
    # The name of the folder is that of the intent with some characters as %2c.
    name = intent.get("displayName") or unquote(key)
    kept = found.route(place, name, texts, description=intent.get("description"))
    if kept is not None and intent.get("parameters"):
        found.inform("parameters", place, "its parameters are not carried: this router extracts none")


def _phrases(files: FileTree, name: str) -> list[object]:
    place = f"{name}: {_PHRASES}"
    document = mapping(files.document(name), name)
    return [joined(phrase.get("parts"), f"{where}.parts") for where, phrase in mappings(document.get(_PHRASES), place)]
