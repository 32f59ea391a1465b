"""Agents of Dialogflow ES, exported as a zip archive or unpacked into a folder.

``agent.json`` names the language, ``intents/NAME.json`` an intent and ``intents/NAME_usersays_LANGUAGE.json`` its
training phrases, each in parts of which some are marked as parameters.
"""

from __future__ import annotations

import re

from synaptoroute.importing.collecting import Collector
from synaptoroute.importing.contents import FileTree
from synaptoroute.importing.dialogflow import INTENTS, Listed, joined, kept_out, language_of, require_phrases
from synaptoroute.importing.records import Imported
from synaptoroute.importing.shapes import mapping, mappings

_PHRASES = re.compile(r"(?P<intent>.+)_usersays_(?P<language>[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)\.json")


def read(files: FileTree, root: str, language: str | None = None) -> Imported:
    """The intents that have training phrases, as routes.

    Args:
        files: The export.
        root: Where ``agent.json`` is in it: a path that ends with a slash, or nothing.
        language: Whose phrases are read; the agent's own unless given.

    Raises:
        InvalidInputError: A file is not what it should be, or no intent has phrases in that language.
    """
    found = Collector("dialogflow-es")
    agent = mapping(files.document(f"{root}agent.json"), f"{root}agent.json")
    wanted = language_of(agent, "language", language)
    listed = _listed(files, root, wanted)
    require_phrases(found, listed, wanted)
    if agent.get("mlMinConfidence") is not None:
        found.inform("threshold", "agent.json: mlMinConfidence", "not carried: this router calibrates itself")
    if any(name.startswith(f"{root}entities/") for name in files.names):
        found.inform("entities", "entities/", "entities are not carried: this router extracts no parameters")
    for key in listed.keys:
        _intent(found, files, key, listed)
    return found.finish()


def _listed(files: FileTree, root: str, wanted: str) -> Listed:
    listed = Listed()
    for name in files.names:
        if not name.startswith(root + INTENTS) or not name.endswith(".json"):
            continue
        file = name.removeprefix(root + INTENTS)
        if match := _PHRASES.fullmatch(file):
            listed.add(match["intent"], match["language"], wanted, name)
        else:
            listed.intents[file.removesuffix(".json")] = name
    return listed


def _intent(found: Collector, files: FileTree, key: str, listed: Listed) -> None:
    intent_file, phrases_file = listed.intents.get(key), listed.phrases.get(key)
    intent = mapping(files.document(intent_file), intent_file) if intent_file else {}
    place = intent_file or phrases_file or key
    texts = _phrases(found, files, phrases_file) if phrases_file else []
    if kept_out(found, place, texts, fallback=bool(intent.get("fallbackIntent"))):
        return
    responses = intent.get("responses")
    answers = [each for each in responses if isinstance(each, dict)] if isinstance(responses, list) else []
    response = answers[0] if answers else {}
    action = response.get("action")
    metadata = {"dialogflow_action": action} if action else None
    if found.route(place, intent.get("name") or key, texts, metadata=metadata) is None:
        return
    if intent.get("contexts"):
        found.warn(
            "contexts",
            place,
            "it was only considered in certain contexts, which this router does not know; name the routes that may be "
            "chosen with allow=[…] when you ask",
        )
    if response.get("parameters"):
        found.inform("parameters", place, "its parameters are not carried: this router extracts none")
    if response.get("messages") or intent.get("webhookUsed"):
        found.inform("responses", place, "its answers and its webhook are not carried: what follows is the caller's")


def _phrases(found: Collector, files: FileTree, name: str) -> list[object]:
    texts: list[object] = []
    for place, phrase in mappings(files.document(name), name):
        if phrase.get("isTemplate"):
            found.warn("template", place, "a phrase in template mode names entities in the place of words; left out")
        else:
            texts.append(joined(phrase.get("data"), f"{place}.data"))
    return texts
