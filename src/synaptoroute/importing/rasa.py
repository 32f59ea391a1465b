"""Training data of Rasa: NLU as YAML (2.0 to 3.1), in one file or in a folder of them, and the older JSON.

Intents become routes and their examples utterances, without the marks of entities. What Rasa learns beside that —
entities, synonyms, lookup tables, regular expressions — has no counterpart.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from synaptoroute.errors import InvalidInputError
from synaptoroute.importing.collecting import Collector
from synaptoroute.importing.contents import FileTree
from synaptoroute.importing.records import Imported
from synaptoroute.importing.shapes import kind_of, mapping, mappings, shown

#: An entity in an example: [text](type), [text](type:value) or [text]{"entity": …}.
_ENTITY = re.compile(r"\[(?P<text>[^\[\]]+)\](?:\([^()]*\)|\{[^{}]*\})")
_EXTENSIONS = (".yml", ".yaml")
_VERSIONS = ("2.0", "3.0", "3.1")
#: What stands beside intents under ``nlu`` -> what to say of it.
_BESIDE = {
    "synonym": "synonyms map the values of entities, which this router does not extract",
    "regex": "regular expressions were features of Rasa's classifier; this router reads words and meaning only",
    "lookup": "lookup tables were features of Rasa's classifier; this router reads words and meaning only",
}
_OTHER_KEYS = (
    "responses", "stories", "rules", "domain", "intents", "entities", "slots", "forms", "actions", "e2e_actions",
    "session_config", "config", "pipeline", "policies",
)  # fmt: skip


def read(document: Any) -> Imported:
    """The routes of one file.

    Raises:
        InvalidInputError: It is no training data, or an intent has no name or examples of another form.
    """
    found = _Reader()
    found.document(document, "")
    return found.finish()


def read_folder(files: FileTree) -> Imported:
    """The routes of all files of training data in a folder; intents of the same name are joined, as Rasa does.

    Raises:
        InvalidInputError: As ``read``, with the file.
        MissingExtraError: YAML needs the extra ``yaml``.
    """
    found = _Reader()
    for name in files.names:
        if name.endswith(_EXTENSIONS):
            document = files.document(name)
            if isinstance(document, dict) and "nlu" in document:
                found.document(document, f"{name}: ")
    return found.finish()


class _Reader:
    def __init__(self) -> None:
        self._found = Collector("rasa")
        self._intents: dict[str, tuple[str, list[object]]] = {}
        self._entities = 0

    def document(self, document: Any, prefix: str) -> None:
        document = mapping(document, f"{prefix}the document")
        if "rasa_nlu_data" in document:
            self._older(document["rasa_nlu_data"], prefix)
            return
        version = document.get("version")
        if version is not None and str(version) not in _VERSIONS:
            self._found.inform("version", f"{prefix}version", f"{shown(version)} is none of {', '.join(_VERSIONS)}")
        for key in document:
            if key in _OTHER_KEYS:
                self._found.inform(str(key), f"{prefix}{key}", "it is no NLU data, and is not carried")
        self._found.unknown(f"{prefix}the document", document, ("version", "nlu", *_OTHER_KEYS))
        for place, entry in mappings(document.get("nlu") or [], f"{prefix}nlu"):
            self._entry(place, entry)

    def _entry(self, place: str, entry: dict[Any, Any]) -> None:
        if "intent" in entry:
            place = f"{place} {shown(entry['intent'])}"
            if entry.get("metadata") is not None:
                self._found.inform("metadata", place, "the metadata of the intent is not carried")
            self._take(entry["intent"], place, self._examples(place, entry.get("examples")))
            return
        key = next((key for key in _BESIDE if key in entry), None)
        if key is None:
            self._found.inform("unknown", place, f"left out: it has {', '.join(map(str, entry))[:80]} and no intent")
        elif key == "synonym":
            self._found.inform(key, f"{place} {shown(entry[key])}", f"not carried: {_BESIDE[key]}")
        else:
            self._found.warn(key, f"{place} {shown(entry[key])}", f"not carried: {_BESIDE[key]}")

    def _take(self, name: object, place: str, examples: list[object]) -> None:
        if not isinstance(name, str) or not name.strip():
            raise InvalidInputError(f"{place}: the intent has no name, or one that is no text")
        self._intents.setdefault(name, (place, []))[1].extend(examples)

    def _examples(self, place: str, examples: Any) -> list[object]:
        if examples is None:
            return []
        if isinstance(examples, str):
            return [self._plain(text) for text in self._lines(place, examples)]
        if isinstance(examples, list):
            texts = [each.get("text") if isinstance(each, dict) else each for each in examples]
            return [self._plain(text) if isinstance(text, str) else text for text in texts]
        raise InvalidInputError(
            f"{place}: examples must be a block of lines that begin with -, or a list of texts, got {kind_of(examples)}"
        )

    def _lines(self, place: str, block: str) -> list[str]:
        kept = []
        for number, line in enumerate(block.split("\n"), start=1):
            line = line.strip()
            if line.startswith("-"):
                kept.append(line[1:].strip())
            elif line and not line.startswith("#"):
                self._found.warn("examples", f"{place}: example line {number}", "it does not begin with -; left out")
        return [text for text in kept if text]

    def _plain(self, text: str) -> str:
        plain, marks = _ENTITY.subn(lambda match: match["text"], text)
        self._entities += marks
        return plain

    def _older(self, data: Any, prefix: str) -> None:
        """The JSON of Rasa 1."""
        data = mapping(data, f"{prefix}rasa_nlu_data")
        for key in ("common_examples", "intent_examples"):
            for place, example in mappings(data.get(key) or [], f"{prefix}rasa_nlu_data.{key}"):
                entities = example.get("entities")
                self._entities += len(entities) if isinstance(entities, list) else 0
                self._take(example.get("intent"), place, [example.get("text")])
        for key, kind in (("entity_synonyms", "synonym"), ("regex_features", "regex"), ("lookup_tables", "lookup")):
            if data.get(key):
                note = self._found.inform if kind == "synonym" else self._found.warn
                note(kind, f"{prefix}rasa_nlu_data.{key}", f"not carried: {_BESIDE[kind]}")

    def finish(self) -> Imported:
        for name, (place, examples) in self._intents.items():
            kept = self._found.route(place, name, examples)
            if kept is None:
                continue
            if "+" in name:
                self._found.warn(
                    "composite_intent",
                    f"{place}",
                    "it stands for several intents at once; here it is one route beside those of its parts",
                )
            elif "/" in name:
                self._found.inform(
                    "retrieval_intent", f"{place}", "a retrieval intent: each of its answers is a route of its own here"
                )
        if self._entities:
            self._found.inform(
                "entities",
                "the examples",
                f"{self._entities:,} marks of entities were taken off; this router extracts none",
            )
        self._parts()
        return self._found.finish()

    def _parts(self) -> None:
        """Retrieval intents of which Rasa chose one first, and then among its answers."""
        groups = Counter(name.partition("/")[0] for name in self._intents if "/" in name)
        for name, count in groups.items():
            if count > 1:
                self._found.inform(
                    "retrieval_intent",
                    f"{name}/",
                    f"Rasa chose among its {count} answers in a second step; here they compete with all routes",
                )
