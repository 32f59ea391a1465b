"""Every format: what becomes a route, and that what could not be carried is said."""

from __future__ import annotations

import io
import json
import shutil
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synaptoroute import Route
from synaptoroute.importing import FORMATS, Imported, Severity, grouped, read_foreign
from synaptoroute.route_files import write_routes

FIXTURES = Path(__file__).parent / "fixtures"


def fixture(name: str, **options: str) -> Imported:
    return read_foreign(FIXTURES / name, **options)


def utterances(imported: Imported) -> dict[str, tuple[str, ...]]:
    return {route.name: route.utterances for route in imported.routes}


def kinds(imported: Imported, severity: Severity | None = None) -> set[str]:
    return {note.kind for note in imported.notes if severity in (None, note.severity)}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("semantic_router_0.yaml", "semantic-router-0"),
        ("litellm.json", "semantic-router-0"),
        ("semantic_router_1.yaml", "semantic-router-1"),
        ("semantic_router_1_chain.json", "semantic-router-1"),
        ("redisvl.yaml", "redisvl"),
        ("redisvl_vectors.json", "redisvl"),
        ("rasa.yml", "rasa"),
        ("rasa_1.json", "rasa"),
        ("rasa_folder", "rasa"),
        ("dialogflow_es", "dialogflow-es"),
        ("dialogflow_cx", "dialogflow-cx"),
        ("rows.csv", "csv"),
        ("rows.jsonl", "jsonl"),
    ],
)
def test_the_format_is_found_by_what_is_in_the_file(name: str, found: str) -> None:
    imported = fixture(name)
    assert imported.format == found
    assert found in FORMATS
    assert utterances(imported) == utterances(fixture(name, file_format=found))
    assert all(route.threshold is None for route in imported.routes)


# ------------------------------------------------------------------------------------------------- semantic-router
def test_semantic_router_0_joins_routes_of_one_name_and_loads_no_code() -> None:
    imported = fixture("semantic_router_0.yaml")
    assert utterances(imported)["billing"] == (
        "what do I owe you", "show my balance", "pay my last bill", "why was I charged twice",
        "send me the invoice again",
    )  # fmt: skip
    billing = imported.routes[0]
    assert (billing.description, dict(billing.metadata)) == ("Money that is owed or paid", {"team": "finance"})
    assert "tests.importing.never_loaded" not in sys.modules
    assert {"llm", "function_schemas", "duplicate", "threshold"} <= kinds(imported, Severity.WARNING)
    (encoder,) = [note for note in imported.notes if note.kind == "encoder"]
    assert "OpenAIEncoder('text-embedding-3-small')" in encoder.message


def test_what_semantic_router_0_writes_where_nobody_chose_is_no_threshold() -> None:
    limits = fixture("semantic_router_0.yaml").thresholds
    assert (limits["billing"].value, limits["billing"].default) == (0.3, True)
    assert (limits["weather"].value, limits["weather"].default) == (0.61, False)


def test_thresholds_are_kept_only_on_request_and_only_those_that_somebody_chose() -> None:
    imported = fixture("semantic_router_0.yaml")
    assert [route.threshold for route in imported.with_thresholds()] == [None, 0.61]


def test_litellm_is_the_same_file_under_its_own_name() -> None:
    imported = fixture("litellm.json", file_format="litellm")
    assert imported.format == "litellm"
    assert [route.name for route in imported.routes] == ["gpt-4.1", "claude-sonnet"]
    assert "target" in kinds(imported)


def test_what_semantic_router_0_writes_and_cannot_read_again_is_read_here(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    routes = [{"name": "a", "utterances": ["one", 2, True, "  ", None]}]
    path.write_text(json.dumps({"encoder_type": "jina", "encoder_name": None, "routes": routes}))
    imported = read_foreign(path)
    assert utterances(imported) == {"a": ("one",)}
    left_out = [note for note in imported.notes if note.kind == "utterances"]
    assert [note.place for note in left_out] == [f"routes[1] 'a': utterance {number}" for number in (2, 3, 4, 5)]
    assert "put" in left_out[0].message or "quotes" in left_out[0].message


def test_semantic_router_1_has_thresholds_of_routes_and_of_the_router() -> None:
    imported = fixture("semantic_router_1.yaml")
    assert {name: limit.value for name, limit in imported.thresholds.items()} == {
        "billing": 0.7, "weather": 0.4, "complaints": 0.4,
    }  # fmt: skip
    assert {limit.scale for limit in imported.thresholds.values()} == {"confidence"}
    assert [route.threshold for route in imported.with_thresholds()] == [None, None, None]
    assert utterances(imported)["complaints"] == ("Somebody is unhappy with what they got",)
    assert {"calibrator", "threshold", "utterances"} <= kinds(imported, Severity.WARNING)
    assert {"encoder", "aggregation", "top_k"} <= kinds(imported, Severity.INFO)
    assert "alpha" not in kinds(imported)


def test_chained_routers_become_one_table_and_no_address_is_repeated() -> None:
    imported = fixture("semantic_router_1_chain.json")
    assert set(utterances(imported)) == {"billing", "weather"}
    assert imported.thresholds["billing"].scale == "score"
    assert {"router_type", "model"} <= kinds(imported, Severity.WARNING)
    assert not any("models.internal" in note.message for note in imported.notes)


# --------------------------------------------------------------------------------------------------------- RedisVL
def test_redisvl_references_become_utterances_and_distances_are_turned_around() -> None:
    imported = fixture("redisvl.yaml")
    assert utterances(imported)["billing"] == ("what do I owe you", "show my balance")
    assert dict(imported.routes[1].metadata) == {"model": "openai/gpt-4o-mini"}
    assert imported.thresholds["billing"].as_score == pytest.approx(0.7)
    assert imported.thresholds["weather"].default
    assert {"threshold", "default_route"} == kinds(imported, Severity.WARNING)
    assert {"encoder", "aggregation_method"} <= kinds(imported, Severity.INFO)


def test_redisvl_with_embeddings_gives_the_texts() -> None:
    imported = fixture("redisvl_vectors.json")
    assert utterances(imported) == {"billing": ("show my balance", "pay my bill")}
    assert "vectors" in kinds(imported)


# ------------------------------------------------------------------------------------------------------------ Rasa
def test_rasa_examples_lose_the_marks_of_entities() -> None:
    imported = fixture("rasa.yml")
    assert utterances(imported)["book_table"] == (
        "book a table for two tonight",
        "I want to eat at Luigi's on Monday",
        "reserve something for four",
    )
    assert utterances(imported)["faq/opening_hours"] == ("when do you open", "are you open on Sundays")
    assert {"regex", "lookup", "composite_intent", "examples"} == kinds(imported, Severity.WARNING)
    assert {"synonym", "entities", "retrieval_intent", "responses", "out_of_scope", "metadata"} <= kinds(imported)
    (entities,) = [note for note in imported.notes if note.kind == "entities"]
    assert entities.message.startswith("4 marks")


def test_rasa_in_a_folder_joins_intents_across_files_without_a_warning() -> None:
    imported = fixture("rasa_folder")
    assert utterances(imported) == {"greet": ("hello", "good morning", "hi there"), "bye": ("good bye",)}
    assert imported.warnings == ()


def test_rasa_1_json() -> None:
    imported = fixture("rasa_1.json")
    assert utterances(imported) == {
        "book_table": ("book a table for two", "reserve something"),
        "parking": ("where can I park",),
    }
    assert kinds(imported) == {"entities", "regex"}


# ------------------------------------------------------------------------------------------------------ Dialogflow
def zipped(folder: str, root: str = "") -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((FIXTURES / folder).rglob("*.json")):
            archive.write(path, root + path.relative_to(FIXTURES / folder).as_posix())
    stream.seek(0)
    return stream


@pytest.mark.parametrize("root", ["", "my agent/"])
@pytest.mark.parametrize("name", ["dialogflow_es", "dialogflow_cx"])
def test_an_agent_is_the_same_in_an_archive_and_in_a_folder(name: str, root: str) -> None:
    assert utterances(read_foreign(zipped(name, root))) == utterances(fixture(name))


def test_dialogflow_es() -> None:
    imported = fixture("dialogflow_es")
    assert utterances(imported) == {
        "hours": ("when do you open", "are you open now"),
        "order.food": ("I would like a pizza please", "bring me something to eat"),
    }
    (order,) = [route for route in imported.routes if route.name == "order.food"]
    assert dict(order.metadata) == {"dialogflow_action": "order.food"}
    assert kinds(imported, Severity.WARNING) == {"language", "template", "contexts"}
    assert {"fallback", "phrases", "parameters", "responses", "entities", "threshold"} == kinds(imported, Severity.INFO)


def test_dialogflow_cx() -> None:
    imported = fixture("dialogflow_cx")
    assert utterances(imported) == {
        "hours": ("when do you open",),
        "order, food": ("I would like a pizza", "bring me something to eat"),
    }
    assert {route.description for route in imported.routes} == {None, "Somebody is hungry"}
    assert kinds(imported, Severity.WARNING) == {"language", "flows"}


@pytest.mark.parametrize("name", ["dialogflow_es", "dialogflow_cx"])
def test_another_language_of_an_agent(name: str) -> None:
    imported = fixture(name, language="ES")
    assert [text for texts in utterances(imported).values() for text in texts] == ["quiero una pizza"]


# ------------------------------------------------------------------------------------------------------------ rows
def test_csv_with_semicolons_and_queries_out_of_scope() -> None:
    imported = fixture("rows.csv")
    assert utterances(imported) == {
        "billing": ("what do I owe you", "show my balance"),
        "weather": ("will it rain; tomorrow", "what is the forecast"),
    }
    (note,) = imported.notes
    assert (note.kind, note.message[:9]) == ("out_of_scope", "1 without")


def test_columns_can_be_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("said,text,goes to\npay my bill,x,billing\n")
    imported = read_foreign(path, text_column="said", route_column="goes to")
    assert utterances(imported) == {"billing": ("pay my bill",)}


def test_json_list_of_objects(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"query": "pay my bill", "tool": "billing"}, {"query": "rain?", "tool": "weather"}]))
    assert utterances(read_foreign(path)) == {"billing": ("pay my bill",), "weather": ("rain?",)}


def test_parquet_with_the_class_names_of_a_hugging_face_data_set(tmp_path: Path) -> None:
    names = {"info": {"features": {"label": {"names": ["billing", "weather"], "_type": "ClassLabel"}}}}
    table = pa.table({"text": ["pay my bill", "rain?", "sun?"], "label": [0, 1, 7]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(names)}), tmp_path / "train.parquet")
    imported = read_foreign(tmp_path / "train.parquet")
    assert utterances(imported) == {"billing": ("pay my bill",), "weather": ("rain?",), "7": ("sun?",)}
    assert kinds(imported, Severity.WARNING) == {"name"}


@pytest.mark.parametrize("extension", ["json", "yaml", "csv", "jsonl"])
def test_files_of_our_own_come_through_with_all_they_have(tmp_path: Path, extension: str) -> None:
    route = Route(name="billing", utterances=["pay", "owe"], threshold=0.4, description="money", metadata={"a": 1})
    path = tmp_path / f"routes.{extension}"
    write_routes([route], path)
    imported = read_foreign(path)
    assert (imported.format, imported.routes, imported.notes) == ("synaptoroute", (route,), ())


# ----------------------------------------------------------------------------------------------------------- mending
def test_names_that_we_have_not_are_mended_and_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,intent\nhi,smalltalk#greet\nbye,-bye\n")
    imported = read_foreign(path)
    assert list(utterances(imported)) == ["smalltalk_greet", "_-bye"]
    assert kinds(imported, Severity.WARNING) == {"name"}


def test_a_text_of_two_routes_is_said(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("text,intent\nHello there,greet\nhello  there,welcome\n")
    (note,) = read_foreign(path).notes
    assert (note.kind, note.severity) == ("shared_utterances", Severity.WARNING)


def test_notes_of_many_routes_are_shown_as_one() -> None:
    imported = fixture("litellm.json")
    ((note, count), *_) = grouped(imported.notes)
    assert (note.kind, count, note.severity) == ("threshold", 2, Severity.WARNING)
    assert note.to_dict()["severity"] == "warning"


def test_a_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.yml"
    secret.write_text("nlu:\n- intent: secret\n  examples: |\n    - hidden\n")
    folder = tmp_path / "rasa"
    shutil.copytree(FIXTURES / "rasa_folder", folder)
    (folder / "link.yml").symlink_to(secret)
    assert "secret" not in utterances(read_foreign(folder))
