"""Settings: where they come from, and how wrong ones stop the start with their name and what to do."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from synaptoroute.errors import InvalidSettingError
from synaptoroute.server.app import create_app
from synaptoroute.server.keys import KeyRing, Scope, new_key
from synaptoroute.server.loading import load_settings
from synaptoroute.server.opening import open_router
from synaptoroute.server.running import bind, require_keys, uvicorn_config
from synaptoroute.server.settings import ServerSettings
from tests.server.serving import Process, Served

KEY = new_key("a", Scope.READ)[1].line


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ServerSettings.model_fields:
        monkeypatch.delenv(f"SYNAPTOROUTE_{name}".upper(), raising=False)


def test_arguments_go_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('port = 1001\nhost = "localhost"\nmax_texts = 7\n')
    monkeypatch.setenv("SYNAPTOROUTE_PORT", "1002")
    monkeypatch.setenv("SYNAPTOROUTE_HOST", "127.0.0.2")
    monkeypatch.setenv("SYNAPTOROUTE_MAX_TOP_K", "")
    settings = load_settings(file, port=1003, host=None)
    assert (settings.port, settings.host, settings.max_texts, settings.max_top_k) == (1003, "127.0.0.2", 7, 100)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.toml", f'[server]\nport = 1\nkeys = ["{KEY}"]\nallowed_hosts = ["a", "b"]'),
        ("s.yaml", f"port: 1\nkeys:\n  - {KEY}\nallowed_hosts: a, b"),
        ("s.yml", f'server:\n  port: "1"\n  keys: "{KEY}"\n  allowed_hosts: [a, b]'),
    ],
)
def test_files_of_both_kinds_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    settings = load_settings(tmp_path / name)
    assert settings.port == 1
    assert settings.allowed_hosts == ("a", "b")
    assert [entry.line for entry in settings.keys] == [KEY]


def test_lists_come_from_variables_too(monkeypatch: pytest.MonkeyPatch) -> None:
    other = new_key("b", Scope.ADMIN)[1].line
    monkeypatch.setenv("SYNAPTOROUTE_KEYS", f"{KEY},\n {other} ")
    monkeypatch.setenv("SYNAPTOROUTE_ALLOWED_HOSTS", "a.example b.example")
    settings = load_settings()
    assert [entry.name for entry in settings.keys] == ["a", "b"]
    assert settings.allowed_hosts == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("PORT", "70000", r"setting port, by SYNAPTOROUTE_PORT: .*65535"),
        ("PORT", "tcp://10.0.0.1:80", r"setting port, .*enableServiceLinks: false"),
        ("PROFILE", "fast", r"setting profile, .*'latency'"),
        ("KEYS", "sr_open_secret", r"setting keys, .*name:scope:sha256hex"),
        ("RATE_LIMIT", "often", r"setting rate_limit, .*100/second"),
        ("MAX_BODY_BYTES", "1", r"setting max_body_bytes, .*1024"),
        ("LOG_LEVEL", "loud", r"setting log_level, .*'debug'"),
        ("PROT", "80", r"SYNAPTOROUTE_PROT is no setting, perhaps SYNAPTOROUTE_PORT is meant"),
        ("ROUTES", "/nowhere.yaml", r"setting routes: there is no file /nowhere\.yaml"),
        ("KEYS_FILE", "/nowhere", r"setting keys_file: there is no file"),
        ("TLS_KEY", __file__, r"tls_certificate and tls_key belong together"),
        ("DEADLINE_MS", "70000", r"deadline_ms is above max_deadline_ms"),
    ],
)
def test_a_wrong_setting_is_named_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"SYNAPTOROUTE_{variable}", value)
    with pytest.raises(InvalidSettingError, match=said) as refused:
        load_settings()
    assert "sr_open_secret" not in str(refused.value)


def test_variables_of_kubernetes_and_of_other_parts_are_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT_8000_TCP", "PORT_8000_TCP_ADDR", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"SYNAPTOROUTE_{name}", "x")
    assert load_settings().port == 8000


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("s.toml", "prot = 80", "prot in .*s.toml is no setting, perhaps port is meant"),
        ("s.toml", "port = ", "is not TOML"),
        ("s.yaml", "port: [", r"is not YAML at line \d"),
        ("s.yaml", "- port", "holds no settings"),
        ("s.yaml", "port: high", "setting port, in .*s.yaml"),
        ("s.json", "{}", r"from \.toml, \.yaml or \.yml"),
    ],
)
def test_a_wrong_file_is_told_so(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidSettingError, match=said):
        load_settings(tmp_path / name)
    with pytest.raises(InvalidSettingError, match="cannot read the settings in"):
        load_settings(tmp_path / "none.toml")


def test_two_stores_are_one_too_many() -> None:
    with pytest.raises(InvalidSettingError, match="db and postgres name two stores"):
        load_settings(db=Path("a.db"), postgres="postgresql://localhost/x")


def test_secrets_do_not_show() -> None:
    dsn = "postgresql://me:hidden@localhost/x"
    settings = ServerSettings.model_validate({"postgres": dsn, "rate_limit_storage": "redis://:hidden@h", "keys": KEY})
    for shown in (repr(settings), str(settings), settings.model_dump_json(exclude={"keys"})):
        assert "hidden" not in shown
        assert KEY.rpartition(":")[2] not in shown


# ------------------------------------------------------------------------------------------ what the world must be
def test_a_store_that_cannot_be_used_is_told_by_its_setting(tmp_path: Path) -> None:
    (tmp_path / "other.db").write_text("no database at all")
    with pytest.raises(InvalidSettingError, match=r"setting db: .*not a SynaptoRoute database"):
        open_router(ServerSettings(db=tmp_path / "other.db"))
    with pytest.raises(InvalidSettingError, match=r"setting db: .*does not exist"):
        open_router(ServerSettings(db=tmp_path / "none" / "a.db"))
    (tmp_path / "routes.yaml").write_text("routes: 1")
    with pytest.raises(InvalidSettingError, match=r"setting routes: .*routes\.yaml"):
        open_router(ServerSettings(routes=tmp_path / "routes.yaml"))


def test_a_store_with_routes_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "one.csv").write_text("route,utterance\na,a 1")
    (tmp_path / "two.csv").write_text("route,utterance\nb,b 1")
    for name in ("one.csv", "two.csv"):
        with open_router(ServerSettings(db=tmp_path / "routes.db", routes=tmp_path / name)) as router:
            assert [route.name for route in router.routes] == ["a"]
            assert router.history()[0].actor == "file"


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InvalidSettingError, match=r"settings host and port: cannot listen on"):
            bind(ServerSettings(port=taken.getsockname()[1]))
    with pytest.raises(InvalidSettingError, match=r"setting host: 'no\.such\.host\.invalid'"):
        bind(ServerSettings(host="no.such.host.invalid"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])  # noqa: S104
def test_others_are_not_let_in_without_a_key(host: str) -> None:
    with pytest.raises(InvalidSettingError, match=r"setting keys: .*synaptoroute keys new"):
        require_keys(ServerSettings(host=host), KeyRing([]))
    for loopback in ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"):
        require_keys(ServerSettings(host=loopback), KeyRing([]))
    require_keys(ServerSettings(host=host), KeyRing([new_key("a", Scope.READ)[1]]))


def test_a_certificate_that_is_none_is_told(served: Served, tmp_path: Path) -> None:
    (tmp_path / "c.pem").write_text("nonsense")
    settings = ServerSettings(tls_certificate=tmp_path / "c.pem", tls_key=tmp_path / "c.pem")
    with pytest.raises(InvalidSettingError, match="settings tls_certificate and tls_key: they cannot be used"):
        uvicorn_config(settings, create_app(served.state.router, settings=settings))


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--host", "0.0.0.0"], {}, "setting keys: listening on 0.0.0.0"),  # noqa: S104
        ([], {"SYNAPTOROUTE_MAX_TEXTS": "many"}, "setting max_texts, by SYNAPTOROUTE_MAX_TEXTS"),
        (["--postgres", "postgresql://u:hidden@127.0.0.1:1/x"], {}, "setting postgres: "),
        (["--routes", "/nowhere.csv"], {}, "setting routes: there is no file"),
    ],
)
def test_the_command_ends_at_once_with_the_settings_name(
    arguments: list[str], environment: dict[str, str], said: str
) -> None:
    with Process(*arguments, **environment) as process:
        code, text = process.ended()
    assert code == 1
    assert text.startswith("error: ")
    assert said in text
    assert "hidden" not in text
    assert "Traceback" not in text


def test_every_setting_is_described() -> None:
    for name, field in ServerSettings.model_fields.items():
        assert field.description, name
        assert re.fullmatch(r".*[.)]", field.description), name
