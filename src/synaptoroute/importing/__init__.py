"""Routes from elsewhere: files of semantic-router, LiteLLM, RedisVL, Rasa and Dialogflow, and labelled examples.

::

    imported = read_foreign("router.json")
    router.add_routes(imported.routes)
    for note in imported.notes:  # what could not be carried
        print(note.severity, note.place, note.message)
"""

from synaptoroute.importing.reading import FORMATS, read_foreign
from synaptoroute.importing.records import ForeignThreshold, Imported, Note, Severity, grouped

__all__ = ["read_foreign", "Imported", "Note", "Severity", "ForeignThreshold", "grouped", "FORMATS"]
