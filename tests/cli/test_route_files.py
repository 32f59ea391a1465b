from __future__ import annotations

import csv
import io
import json
import os
import stat
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from synaptoroute import route_files
from synaptoroute.errors import InvalidInputError, InvalidRouteError, MissingExtraError
from synaptoroute.models import Route
from synaptoroute.route_files import FileFormat, read_routes, route_entry, write_routes

FORMATS: tuple[FileFormat, ...] = get_args(FileFormat)

BILLING = Route(
    name="billing",
    utterances=["what do I owe", "=1+1", "'-quoted", 'say "hi", please', "two\r\nlines"],
    threshold=-0.25,
    description="@accounts: what the customer owes",
    metadata={"team": "finance", "levels": [1, 2.5, None, True], "nested": {"ключ": "значение"}},
)
REFUND = Route(name="refund", utterances=["money back", "yes", "12", "null", "~"])


def written(routes: list[Route], file_format: FileFormat) -> str:
    stream = io.StringIO(newline="")
    write_routes(routes, stream, file_format)
    return stream.getvalue()


def read(text: str, file_format: FileFormat) -> list[Route]:
    return read_routes(io.StringIO(text, newline=""), file_format)


# ----------------------------------------------------------------------------------------------------- round trips
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(str.strip)
risky = st.builds(str.__add__, st.sampled_from(["=", "+", "-", "@", "'", "''=", "'=", "\uff1d", "#", "- ", '"']), texts)
names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_ .,:/@+&()?!'-]{0,20}", fullmatch=True).filter(
    lambda name: name == name.strip()
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
routes = st.builds(
    lambda **fields: Route(**fields),
    name=names,
    utterances=st.lists(texts | risky, min_size=1, max_size=4),
    threshold=st.none() | st.floats(-1, 1),
    description=st.none() | texts | risky,
    metadata=st.dictionaries(texts, json_values, max_size=3),
)


@pytest.mark.parametrize("file_format", FORMATS)
@settings(deadline=None, max_examples=60)
@given(st.lists(routes, max_size=4, unique_by=lambda route: route.name))
def test_what_is_written_is_read_again(file_format: FileFormat, some: list[Route]) -> None:
    assert read(written(some, file_format), file_format) == some


@settings(deadline=None, max_examples=30)
@given(st.lists(routes, max_size=2, unique_by=lambda route: route.name))
def test_yaml_round_trips_where_pyyaml_was_built_without_libyaml(some: list[Route]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(yaml, "CSafeLoader", raising=False)
        patch.delattr(yaml, "CSafeDumper", raising=False)
        assert read(written(some, "yaml"), "yaml") == some


@pytest.mark.parametrize("file_format", FORMATS)
def test_files_round_trip(tmp_path: Path, file_format: FileFormat) -> None:
    path = tmp_path / f"routes.{file_format}"
    write_routes([BILLING, REFUND], path)
    assert read_routes(path) == [BILLING, REFUND]
    with path.open("rb") as stream:
        assert read_routes(stream, file_format) == [BILLING, REFUND]


def test_yml_is_yaml_and_case_does_not_matter(tmp_path: Path) -> None:
    write_routes([REFUND], tmp_path / "routes.YML")
    assert read_routes(tmp_path / "routes.YML") == [REFUND]


def test_a_bare_list_of_routes_is_read() -> None:
    assert read(json.dumps([route_entry(REFUND)]), "json") == [REFUND]
    assert read("- name: refund\n  utterances: [money back]\n", "yaml")[0].utterances == ("money back",)


def test_fields_that_are_not_set_are_not_written() -> None:
    assert json.loads(written([REFUND], "json"))["routes"] == [
        {"name": "refund", "utterances": ["money back", "yes", "12", "null", "~"]}
    ]
    assert written([REFUND], "csv").splitlines()[0] == "route,utterance"


def test_a_threshold_of_zero_is_not_none() -> None:
    zero = Route(name="zero", utterances=["x"], threshold=0.0)
    for file_format in FORMATS:
        assert read(written([zero], file_format), file_format)[0].threshold == 0.0


def test_a_byte_order_mark_of_a_spreadsheet_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "routes.csv"
    path.write_bytes("\ufeffroute,utterance\r\nrefund,money back\r\n".encode())
    assert read_routes(path)[0].name == "refund"


# ------------------------------------------------------------------------------------------------------------- CSV
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", "'="])
def test_no_cell_that_a_spreadsheet_would_run_leaves_in_a_csv(start: str) -> None:
    route = Route(name="r", utterances=[f"{start}cmd|' /C calc'!A0"], description=f"{start}HYPERLINK(1)")
    rows = list(csv.reader(io.StringIO(written([route], "csv"), newline="")))
    assert all(cell.startswith("'") for cell in rows[1][1:])
    assert read(written([route], "csv"), "csv") == [route]


def test_apostrophes_typed_by_people_stay() -> None:
    assert read("route,utterance\nr,'tis the season\nr,''\n", "csv")[0].utterances == ("'tis the season", "''")


def test_csv_rows_of_a_route_need_not_be_together() -> None:
    found = read("Utterance,Route,threshold\none,a,\n\ntwo,b,0.5\nthree,a,0.25\n", "csv")
    assert [(route.name, route.utterances, route.threshold) for route in found] == [
        ("a", ("one", "three"), 0.25),
        ("b", ("two",), 0.5),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the columns are ''"),
        ("route;utterance\na;b\n", "line 1: the columns are 'route;utterance'"),
        ("route,utterance,weight\na,b,1\n", "wanted route,utterance"),
        ('route,utterance\na,"x\ny"\na,b,c\n', "line 4: 3 cells, wanted 2"),
        ("route,utterance\na,x\n,y\n", "line 3: route name '' is not accepted"),
        ("route,utterance\na,x\na, \n", "line 3: 'a': the utterance is empty"),
        ("route,utterance,threshold\na,x,high\n", "line 2: threshold is 'high'"),
        ("route,utterance,threshold\na,x,0.1\na,y,0.2\n", "line 3: 'a': threshold is 0.2 here and 0.1 above"),
        ("route,utterance,threshold\na,x,\na,y,7\n", "line 2: route 'a': threshold"),
        ("route,utterance,metadata\na,x,{\n", "line 2: line 1: not JSON"),
        ('route,utterance\na,"x\n', "not CSV"),
    ],
)
def test_bad_csv_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(text, "csv")
    assert message in str(caught.value)


# --------------------------------------------------------------------------------------------------- JSON and YAML
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: not JSON"),
        ('{"version": 1,\n "routes": [}', "line 2: not JSON"),
        ('{"version": 2, "routes": []}', "version 2 of the format, this release reads 1"),
        ('{"version": true, "routes": []}', "version True"),
        ('{"routes": [], "Routes": [], "x": 1}', "unknown keys 'Routes', 'x', known are version, routes"),
        ("{}", "wanted {"),
        ('"billing"', "wanted {"),
        ('["billing"]', "route 1: wanted a mapping with name and utterances, got str"),
        ('[{"name": "a", "utterances": ["x"]}, {"name": "b", "utterence": []}]', "route 2: unknown key 'utterence'"),
        ('[{"threshold": 1}]', "route 1: it has no name and no utterances"),
        ('[{"name": "a", "name": "b", "utterances": ["x"]}]', "the key 'name' is there twice"),
        ('[{"name": 7, "utterances": ["x"]}]', "route 1: a route's name must be a string, got int"),
        ('[{"name": "a", "utterances": "x"}]', "route 1: 'a': utterances must be a list of texts, got str"),
        ('[{"name": "a", "utterances": []}]', "route 1: route 'a': utterances"),
        ('[{"name": "a", "utterances": ["x", 5]}]', "route 1: 'a': utterance 2 is 5, wanted a text"),
        ('[{"name": "a", "utterances": ["x"], "threshold": "0.5"}]', "threshold is '0.5', wanted a number"),
        ('[{"name": "a", "utterances": ["x"], "threshold": NaN}]', "route 1: route 'a': threshold"),
        ('[{"name": "a", "utterances": ["x"], "metadata": []}]', "metadata must be a mapping, got list"),
        ('[{"name": "a", "utterances": ["x"]}, {"name": "a", "utterances": ["y"]}]', "route 2: the route 'a' is in"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_bad_json_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(text, "json")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("routes:\n  - name: [}\n", "line 2: not YAML"),
        ("a: 1\n b: 2", "line 2: not YAML"),
        ("- name: a\n  utterances: [yes]\n", "route 1: 'a': utterance 1 is True, wanted a text; put it in quotes"),
        ("- name: a\n  name: b\n  utterances: [x]\n", "the key 'name' is there twice"),
        ("- !!python/object/apply:os.system [ls]", "line 1: not YAML"),
        ("- ? [a]\n  : b\n", "line 1: not YAML"),
        ("[" * 5_000, "nested too deeply"),
        ("a: \x07", "not YAML"),
    ],
)
def test_bad_yaml_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        read(text, "yaml")
    assert message in str(caught.value)


def test_a_yaml_alias_bomb_is_refused_before_it_is_built() -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 8)}]" for n in range(1, 20)]
    with pytest.raises(InvalidInputError, match=r"line 2: aliases"):
        read("\n".join(lines), "yaml")


def test_yaml_without_its_extra_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'synaptoroute\[yaml\]'"):
        read("[]", "yaml")
    with pytest.raises(MissingExtraError):
        written([REFUND], "yaml")


def test_metadata_with_a_lone_surrogate_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    route = Route.model_construct(name="r", utterances=("x",), metadata={"a": "\ud800"})
    path = tmp_path / "routes.json"
    with pytest.raises(InvalidInputError, match="lone surrogate"):
        write_routes([route], path)
    assert not list(tmp_path.iterdir())


# ----------------------------------------------------------------------------------------------------------- files
def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text('[{"name": "a"}]')
    with pytest.raises(InvalidRouteError, match=r"mine\.json: route 1: it has no utterances"):
        read_routes(path)
    with pytest.raises(InvalidInputError, match=r"cannot read .*gone\.json: No such file"):
        read_routes(tmp_path / "gone.json")
    with pytest.raises(InvalidInputError, match="cannot read"):
        read_routes(tmp_path, "json")


def test_a_file_in_another_encoding_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.csv"
    path.write_bytes("route,utterance\nmenu,café\n".encode("latin-1"))
    with pytest.raises(InvalidInputError, match="line 2 is not UTF-8"):
        read_routes(path)


def test_a_format_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="say one of json, yaml, csv"):
        read_routes(tmp_path / "routes.txt")
    with pytest.raises(InvalidInputError, match="say one of json, yaml, csv"):
        write_routes([REFUND], io.StringIO())
    with pytest.raises(InvalidInputError, match="unknown format 'xml'"):
        write_routes([REFUND], tmp_path / "routes.xml", "xml")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_file_over_the_limit_is_refused_before_it_is_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "routes.json"
    path.write_text("[" + " " * 2_000_000 + "]")
    assert read_routes(path) == []
    monkeypatch.setattr(route_files, "MAX_FILE_BYTES", 1_048_576)
    with pytest.raises(InvalidInputError, match="over 1 MiB"):
        read_routes(path)
    with pytest.raises(InvalidInputError, match="over 1 MiB"):
        read(path.read_text(), "json")


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "routes.json"
    write_routes([REFUND], path)
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(InvalidInputError, match=r"folder\.json: cannot be written: Is a directory"):
        write_routes([BILLING], tmp_path / "folder.json")
    with pytest.raises(InvalidInputError, match="cannot be written: No such file"):
        write_routes([BILLING], tmp_path / "none" / "routes.json")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.json", "routes.json"]
    assert read_routes(path) == [REFUND]


def test_replacing_a_file_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    path, link = tmp_path / "routes.json", tmp_path / "link.json"
    write_routes([REFUND], path)
    path.chmod(0o640)
    link.symlink_to(path)
    write_routes([BILLING], link)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert read_routes(path) == [BILLING]


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.json"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_routes([REFUND], pipe)
        assert json.loads(os.read(reader, 65_536))["routes"][0]["name"] == "refund"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
