"""Files that are broken, hostile or something else: an error that names the file and the place, and nothing worse."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute.errors import InvalidInputError
from synaptoroute.importing import contents, read_foreign
from tests.importing.test_formats import FIXTURES


def refused(source: object, **options: str) -> str:
    with pytest.raises(InvalidInputError) as caught:
        read_foreign(source, **options)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.fixture
def write(tmp_path: Path):  # type: ignore[no-untyped-def]
    def written(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", '{"encoder_type": "x",\n "routes": [}', "a.json: line 2: not JSON"),
        ("a.yaml", "encoder_type: x\nroutes: [a\n", "a.yaml: line 3"),
        ("a.yaml", "nlu: &a [x]\nb: *a\n", "a.yaml: line 2: aliases"),
        ("a.yaml", "encoder_type: x\nencoder_type: y\n", "a.yaml: the key 'encoder_type' is there twice"),
        ("a.yaml", "encoder_type: !!python/object/apply:os.system [ls]\nroutes: []\n", "a.yaml: line 1"),
        ("a.json", '{"encoder_type": "x"}', "a.json: routes: wanted a list, got nothing"),
        ("a.json", '{"encoder_type": "x", "routes": [3]}', "a.json: routes[1]: wanted a mapping, got int"),
        ("a.json", '{"encoder_type": "x", "routes": []}', "a.json: there is no route in it"),
        ("a.json", '{"encoder_type": "x", "routes": [{"utterances": ["a"]}]}', "routes[1]: it has no name"),
        ("a.json", '{"encoder_type": "x", "routes": [{"name": "a", "utterances": "b"}]}', "routes[1] 'a': utterances"),
        ("a.json", '{"router_type": "indexed", "index": {"type": "pinecone"}}', "are in pinecone, not in the file"),
        ("a.json", '{"name": "x", "version": 3}', "its format is not known by its keys, which are 'name', 'version'"),
        ("a.json", "[1, 2]", "its format is not known"),
        ("a.json", "7", "this is neither"),
        ("a.json", '{"trainingPhrases": []}', "name the whole export"),
        ("a.yml", "nlu:\n- intent: a\n  examples: 3\n", "a.yml: nlu[1] 'a': examples must be a block of lines"),
        ("a.yml", "nlu:\n- intent: null\n  examples: |\n    - x\n", "a.yml: nlu[1] None: the intent has no name"),
        ("a.csv", "text,intent\nhi\n", "a.csv: line 2: 1 cells, wanted 2"),
        ("a.csv", 'text,intent\n"hi,greet\n', "a.csv: line 2: not CSV"),
        ("a.csv", "one,two\nhi,greet\n", "a.csv: line 1: cannot tell which column holds the text"),
        ("a.csv", "", "a.csv: line 1: cannot tell which column"),
        ("a.jsonl", '{"text": "hi", "label": "a"}\n{"text": \n', "a.jsonl: line 2: not JSON"),
        ("a.jsonl", '{"text": "hi", "label": "a"}\n[]\n', "a.jsonl: line 2: wanted an object, got a list"),
        ("a.jsonl", '{"text": "hi", "label": "a"}\n{"label": "a"}\n', "a.jsonl: line 2: it has no 'text'"),
        ("a.jsonl", '{"text": "hi", "label": {"a": 1}}\n', "a.jsonl: line 1: the route is a mapping"),
        ("a.parquet", b"PAR1 and nothing else", "a.parquet: not Parquet, or damaged"),
        ("a.csv", b"text,intent\nhi,greet\n\xff\xfe,greet\n", "a.csv: line 3 is not UTF-8"),
        ("a.json", b'{\n"encoder_type": "\xe9"}', "a.json: line 2 is not UTF-8"),
        ("a.zip", b"PK\x03\x04 and nothing else", "a.zip: not a zip archive"),
    ],
)  # fmt: skip
def test_the_message_names_file_and_place(write, name: str, content: str | bytes, said: str) -> None:  # type: ignore[no-untyped-def]
    message = refused(write(name, content))
    assert said in message
    assert message.count(name) == 1


def test_yaml_that_stands_for_billions_of_nodes_is_refused_at_once(write) -> None:  # type: ignore[no-untyped-def]
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "aliases" in refused(write("bomb.yaml", "\n".join([*lines, "routes: *a11"])))


@pytest.mark.parametrize("name", ["deep.json", "deep.yaml"])
def test_nesting_without_end_is_refused(write, name: str) -> None:  # type: ignore[no-untyped-def]
    assert "nested too deeply" in refused(write(name, "[" * 100_000 + "]" * 100_000))


def test_routers_in_routers_have_an_end(write) -> None:  # type: ignore[no-untyped-def]
    router: dict[str, object] = {"router_type": "indexed", "routes": []}
    for _ in range(30):
        router = {"router_type": "chain", "routers": [router]}
    assert "routers are nested too deeply" in refused(write("deep.json", json.dumps(router)))


def test_what_is_not_there_is_said() -> None:
    assert refused("/nowhere/router.yaml") == "cannot read /nowhere/router.yaml: No such file or directory"
    assert "unknown format 'x', wanted auto or one of" in refused(FIXTURES / "rows.csv", file_format="x")
    assert "there is no column 'said'" in refused(FIXTURES / "rows.csv", text_column="said")
    assert "no training phrases in 'fr'; there are some in: en, es" in refused(
        FIXTURES / "dialogflow_es", language="fr"
    )
    assert "name the file" in refused(FIXTURES / "rasa_folder", file_format="csv")
    assert "there is no agent.json" in refused(FIXTURES / "rasa_folder", file_format="dialogflow-cx")
    assert "wanted the whole agent" in refused(FIXTURES / "rasa_1.json", file_format="dialogflow-es")
    assert "is a stream of text" in refused(io.StringIO("text,intent"))


def test_a_folder_without_an_export(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    assert "neither the agent.json of a Dialogflow agent nor a YAML file" in refused(tmp_path)


#: What the formats look for, in any places.
KEYS = (
    "routes", "name", "utterances", "references", "encoder_type", "router_type", "routers", "encoder", "index", "nlu",
    "intent", "examples", "metadata", "description", "score_threshold", "confidence_threshold", "distance_threshold",
    "vectorizer", "routing_config", "rasa_nlu_data", "common_examples", "text", "label", "llm", "model", "type",
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=5) | st.just("chain"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(JSON)
def test_whatever_the_document_is_the_answer_is_routes_or_an_error_of_ours(document: object) -> None:
    stream = io.BytesIO(json.dumps(document).encode())
    try:
        imported = read_foreign(stream)
    except InvalidInputError:
        return
    assert imported.routes


# -------------------------------------------------------------------------------------------------------- archives
def archive(**members: str | bytes) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/"), content)
    stream.seek(0)
    stream.name = "agent.zip"
    return stream


@pytest.mark.parametrize("name", ["../evil.json", "/etc/passwd", "intents/../../x.json", "C:/x.json", "a\\..\\x.json"])
def test_a_member_that_leads_out_of_the_archive_is_refused(name: str) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        file.writestr("agent.json", "{}")
        file.writestr(name, "{}")
    stream.seek(0)
    assert "may lead out of the archive" in refused(stream)


def test_a_zip_bomb_is_read_no_further_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = archive(**{"agent.json": b'{"language": "en"}' + b" " * (65 << 20)})
    assert len(bomb.getvalue()) < 1 << 20
    assert refused(bomb) == "agent.zip: agent.json: it is over 64 MiB, which is the most a file may have"


def test_many_files_have_a_limit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_TOTAL_BYTES", 100)
    phrases = json.dumps([{"data": [{"text": "x" * 100}]}])
    message = refused(archive(**{"agent.json": '{"language": "en"}', "intents/a_usersays_en.json": phrases}))
    assert message.startswith("agent.zip: intents/a_usersays_en.json: with it, the files are over")


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_FILES", 2)
    assert "it has 3 files" in refused(archive(a="", b="", c=""))
    assert "has over 2 files" in refused(FIXTURES / "dialogflow_es")


def test_a_size_that_the_archive_lies_about_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "MAX_FILE_BYTES", 1_000)
    stream = archive(**{"agent.json": b'{"language": "en"}' + b" " * 5_000})
    data = bytearray(stream.getvalue())
    # The size in the central directory, 24 bytes behind its signature.
    struct.pack_into("<I", data, data.find(b"PK\x01\x02") + 24, 10)
    assert "agent.json: it is " in refused(io.BytesIO(bytes(data)))


def test_a_damaged_member_is_said() -> None:
    stream = archive(**{"agent.json": json.dumps({"language": "en", "description": "word " * 500})})
    data = bytearray(stream.getvalue())
    data[60:70] = b"\x00" * 10
    message = refused(io.BytesIO(bytes(data)))
    assert "agent.json: it is damaged" in message
    assert zlib.crc32(data) != zlib.crc32(stream.getvalue())


def test_an_encrypted_member_is_said() -> None:
    data = bytearray(archive(**{"agent.json": "{}"}).getvalue())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.find(signature) + at] |= 1
    assert "agent.json: it is encrypted" in refused(io.BytesIO(bytes(data)))


@pytest.mark.parametrize(
    ("phrases", "said"),
    [
        ('{"a": 1}', "intents/a_usersays_en.json: wanted a list, got a mapping"),
        ('[{"data": 1}]', "intents/a_usersays_en.json[1].data: wanted a list, got int"),
        ('[{"data": [{"text": 1}]}]', "intents/a_usersays_en.json[1].data[1].text: wanted a text, got int"),
        ("[", "intents/a_usersays_en.json: line 1: not JSON"),
        (b"[\n\xff]", "intents/a_usersays_en.json: line 2 is not UTF-8"),
    ],
)
def test_a_broken_file_of_an_agent_is_named(phrases: str | bytes, said: str) -> None:
    files = {
        "agent.json": '{"language": "en"}',
        "intents/a.json": '{"name": "a"}',
        "intents/a_usersays_en.json": phrases,
    }
    assert refused(archive(**files)).startswith(f"agent.zip: {said}")


@pytest.mark.parametrize(("module", "name", "extra"), [("yaml", "redisvl.yaml", "yaml"), ("pyarrow", "", "parquet")])
def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, module: str, name: str, extra: str) -> None:
    path = FIXTURES / name if name else tmp_path / "x.parquet"
    if not name:
        path.write_bytes(b"PAR1")
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from synaptoroute.importing import read_foreign\n"
        f"try: read_foreign({str(path)!r})\nexcept ImportError as exc: print(exc)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"pip install 'synaptoroute[{extra}]'" in done.stdout


def test_importing_the_room_loads_neither_yaml_nor_pyarrow() -> None:
    code = "import sys, synaptoroute.importing; print({'yaml', 'pyarrow', 'onnxruntime'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
