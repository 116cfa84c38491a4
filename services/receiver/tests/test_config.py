"""runmeter.receiver.config: flags over environment over defaults, and what is refused."""

import re
from pathlib import Path
from typing import Any

import pytest

from runmeter.receiver.config import (
    load_database,
    load_import,
    load_prune,
    load_rename,
    load_serve,
)
from runmeter.receiver.settings import SETTINGS
from runmeter.service.clients import networks
from runmeter.service.errors import ConfigurationError
from runmeter.service.values import Address

GOOD = {"RECEIVER_READ_TOKEN": "rt", "RECEIVER_HMAC_KEY": "key"}


def test_defaults() -> None:
    """Only the two secrets have to be given."""
    config = load_serve({}, GOOD)
    assert config.address == Address(None, 50051)
    assert (config.database.kind, config.database.location) == ("sqlite", "metrics.db")
    assert config.migrate is True
    assert config.max_token_ttl_seconds is None
    assert config.shutdown_timeout_seconds == 25.0
    assert config.max_message_bytes == 2**20
    assert config.call_timeout_seconds == 60.0
    assert config.max_auth_failures == 300
    assert config.trusted_peers == ()
    assert config.ops_address == Address(None, 9464)
    assert config.tls is None
    assert config.log == ("info", None)


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("addr", "[::1]:65535", "address", Address("::1", 65535)),
        ("max_token_ttl", "1h30m", "max_token_ttl_seconds", 5400.0),
        ("shutdown_timeout", "0", "shutdown_timeout_seconds", 0.0),
        ("retention", "90d", "retention_seconds", 90 * 86400.0),
        ("retention", "1d12h", "retention_seconds", 129600.0),
        ("retention", "36h", "retention_seconds", 129600.0),
        ("retention", "36500d", "retention_seconds", 36500 * 86400.0),
        ("call_timeout", "90s", "call_timeout_seconds", 90.0),
        ("max_auth_failures", "10", "max_auth_failures", 10),
        ("trusted_peers", "10.0.0.1, ::1/128", "trusted_peers", networks("10.0.0.1,::1")),
        ("ops_addr", "none", "ops_address", None),
        ("max_message_bytes", "64KiB", "max_message_bytes", 65536),
    ],
)
def test_accepted_values(name: str, text: str, attribute: str, value: Any) -> None:
    """Each setting is parsed into its unit; the forms of values are tested in runmeter.service."""
    assert getattr(load_serve({name: text}, GOOD), attribute) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("addr", "50051"),
        ("max_token_ttl", "0s"),
        ("max_token_ttl", "9999999h"),
        ("shutdown_timeout", "2h"),
        ("call_timeout", "0s"),
        ("call_timeout", "2h"),
        ("max_auth_failures", "0"),
        ("ops_addr", "9464"),
        ("max_message_bytes", "1023"),
        ("max_message_bytes", "65MiB"),
        ("log_level", "verbose"),
        ("log_format", "xml"),
    ],
)
def test_refused_values(name: str, text: str) -> None:
    """One sentence names the flag or the variable, and the value."""
    setting = next(s for s in SETTINGS if s.name == name)
    with pytest.raises(ConfigurationError) as caught:
        load_serve({name: text}, GOOD)
    assert str(caught.value).startswith(f"{setting.flag} {text!r} must ")
    with pytest.raises(ConfigurationError) as caught:
        load_serve({}, {**GOOD, setting.variable: text})
    assert str(caught.value).startswith(f"{setting.variable} {text!r} must ")


@pytest.mark.parametrize(
    "text",
    [
        ":memory:",
        "sqlite://",
        "mysql://u:hunter2@h/d",
        "Postgres:/u:hunter2@h/d",
        "postgres:/u:hunter2@h/d",
        "postgres://u:hunter2@host",
        "postgres://u:hunter2@host/",
        "postgres://u:hunter2@host:x/d",
        "postgres://u:hunter2@host:99999/d",
        "postgres://u:hunter2/x@127.0.0.1:1/d",
        "postgres://u:1/hunter2@127.0.0.1:1/d",
        "postgres://u:hunter2#x@h/d",
        "postgres://u:1/x?hunter2@h/d",
        "postgres://u:hunter2[@h/d",
        "postgres://u:hunter2@h/d?sslmode=sure",
        "postgres://u:hunter2@h/d?sslmode=",
        "postgres://u:hunter2@h/d?hunter2=x",
        "postgres://u:hunter2@h/d?channel_binding=require",
        "postgres://u:hunter2@h/d?connect_timeout=0",
        "postgres://u:hunter2@h/d?target_session_attrs=best",
        "postgres://u:hunter2@h/d?password=hunter2",
        "postgres://u:hunter2@h/d?host=/tmp",
        "postgres://u:hunter2@h/d?port=5433",
        "postgres://u@h?password=hunter2",
        "postgres://u:hunter2@/d?host=::1",
        "postgres://u:hunter2@h/d#x",
        "postgres://u:hunter2%@h/d",
        "postgres://u:hunter2%00@h/d",
        "postgres://u:hunter2@q@h/d",
        "postgres://u:hunter2@h,/d",
        "postgres://u:hunter2@[::1/d",
        "postgres://u:hunter2@h/d?sslmode",
        "postgres://u:hunter2@h..x/d",
        '"postgres://u:hunter2@h/d"',
        "'postgres://u:hunter2@h/d'",
        " postgres://u:hunter2@h/d",
        "\ufeffpostgres://u:hunter2@h/d",
        "jdbc:postgresql://u:hunter2@h/d",
        "postgres:u:hunter2@h/d",
        "postgres:\\\\u:hunter2@h/d",
        "u:hunter2@h/d",
        "//u:hunter2@h/d",
        "host=h user=u password=hunter2 dbname=d",
        "metrics.db\n\n",
        "x" * 256,
    ],
)
def test_refused_databases(text: str) -> None:
    """One sentence says what is allowed, and nothing of what was given: it may be a password."""
    for given, called in (({"db": text}, "--db"), ({}, "RECEIVER_DB")):
        with pytest.raises(ConfigurationError) as caught:
            load_serve(given, {**GOOD, "RECEIVER_DB": text})
        said = str(caught.value)
        assert said.startswith((f"{called} must ", f"{called} may "))
        assert "\n" not in said
        assert text not in said
        assert "hunter2" not in said


@pytest.mark.parametrize(
    "text", ["metrics.db", "my runs.db", "a/b.db", "/data/a@b:c=d.db", "./'a:b'", "../x y/é.db"]
)
def test_paths(text: str) -> None:
    """What cannot be a mistyped URL is a path; with ./ in front anything is a path."""
    database = load_serve({"db": text}, GOOD).database
    assert (database.kind, database.location) == ("sqlite", text)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("postgres://u:p%40%2F@h:5/d", "postgres://h:5/d"),
        ("POSTGRESQL://u@h/d?sslmode=verify-full", "postgres://h/d"),
        ("postgres://h/d", "postgres://h/d"),
        ("postgres://u:p@h:5,[::1]:6/d", "postgres://h:5,[::1]:6/d"),
        ("postgres:///d?host=/run/sock&user=u&password=hunter2", "postgres:///run/sock/d"),
        ("postgres://u@%2Frun%2Fsock/?dbname=d&password=hunter2", "postgres://%2Frun%2Fsock/d"),
        ("postgres:///d", "postgres:///d"),
    ],
)
def test_labels_have_no_password(text: str, label: str) -> None:
    """What logs call a database names host and database alone."""
    assert load_serve({"db": text}, GOOD).database.label == label


@pytest.mark.parametrize("database", ["metrics.db", "postgres://h/d"])
def test_a_bad_switch_is_refused_whatever_the_database(database: str) -> None:
    """A bad switch is refused for SQLite too, which is always migrated."""
    with pytest.raises(ConfigurationError, match="RECEIVER_MIGRATE 'nonsense' must be true or"):
        load_serve({}, {**GOOD, "RECEIVER_DB": database, "RECEIVER_MIGRATE": "nonsense"})


def test_trusted_peers() -> None:
    """May be repeated or listed; what is no network is named."""
    given = {"trusted_peers": ("10.0.0.0/8", "::1,192.0.2.1")}
    assert len(load_serve(given, GOOD).trusted_peers) == 3
    environ = {**GOOD, "RECEIVER_TRUSTED_PEERS": "10.0.0.0/8,::1"}
    assert len(load_serve({"trusted_peers": ()}, environ).trusted_peers) == 2
    for bad in ("host", "10.0.0.1/8", "10.0.0.0/40"):
        with pytest.raises(ConfigurationError, match=f"--trusted-peers .*; '{bad}' is neither"):
            load_serve({"trusted_peers": ("::1", bad)}, GOOD)


def test_both_secrets_are_required() -> None:
    """The sentence about a missing secret names the ways to give it."""
    with pytest.raises(ConfigurationError, match=r"RECEIVER_READ_TOKEN.*--read-token-file"):
        load_serve({}, {"RECEIVER_HMAC_KEY": "k"})
    with pytest.raises(ConfigurationError, match=r"RECEIVER_HMAC_KEY.*--hmac-key-file"):
        load_serve({"hmac_key": ()}, {"RECEIVER_READ_TOKEN": "t"})


def test_secrets_from_files(tmp_path: Path) -> None:
    """One trailing newline is dropped, no more; a key file has one key per line."""
    token, keys = tmp_path / "token", tmp_path / "keys"
    token.write_text("secret\n")
    keys.write_text("new key \nold\n")
    config = load_serve({"read_token_file": str(token), "hmac_key_file": str(keys)}, {})
    assert config.read_token == "secret"
    assert config.hmac_keys == ("new key ", "old")


def test_several_keys() -> None:
    """The flag may be repeated; the variable holds one per line."""
    assert load_serve({"hmac_key": ("a", "b")}, GOOD).hmac_keys == ("a", "b")
    environ = {**GOOD, "RECEIVER_HMAC_KEY": "c\nd\n"}
    assert load_serve({"hmac_key": ()}, environ).hmac_keys == ("c", "d")


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ({"read_token": "two words"}, "printable ASCII"),
        ({"read_token": "tökén-secret"}, "printable ASCII"),
        ({"read_token": "sneaky-secret\n\n"}, "printable ASCII"),
        ({"read_token": "secret" * 683}, "at most 4096 characters"),
        ({"hmac_key": ("sneaky-secret", "")}, "key 2 is empty"),
        ({"hmac_key": ("sneaky-secret\udcff",)}, "UTF-8"),
    ],
)
def test_bad_secrets_are_not_shown(flags: dict[str, Any], word: str) -> None:
    """The sentence about a bad secret says what is wrong and not what it is."""
    with pytest.raises(ConfigurationError, match=word) as caught:
        load_serve(flags, GOOD)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "variable", "migrates"),
    [({}, "", False), ({}, "true", True), ({}, "0", False), ({"migrate": True}, "no", True),
     ({"migrate": False}, "yes", False)],
)  # fmt: skip
def test_postgres_is_migrated_only_when_asked(
    flags: dict[str, Any], variable: str, migrates: bool
) -> None:
    """SQLite always is, PostgreSQL with --migrate."""
    environ = {**GOOD, "RECEIVER_DB": "postgres://u:pw@h:5/d", "RECEIVER_MIGRATE": variable}
    config = load_serve(flags, environ)
    assert config.migrate is migrates
    assert config.database.label == "postgres://h:5/d"
    assert "pw" not in repr(config)


def test_migrate_needs_no_secrets() -> None:
    """``receiver migrate`` reads the database and how to log, nothing else."""
    config = load_database({"db": "sqlite:///tmp/a?b#c.db"}, {"RECEIVER_LOG_FORMAT": "text"})
    assert config.database.location == "/tmp/a?b#c.db"
    assert config.log.format == "text"


@pytest.mark.parametrize(
    "text", ["90", "d", "-1d", "1.5d", "0d", "999ms", "36501d", "12h1d", "1d 12h", "9" * 30 + "d"]
)
def test_ages_that_are_refused(text: str) -> None:
    """Days are whole and come first; an age is one second to a hundred years."""
    with pytest.raises(
        ConfigurationError, match=r"--older-than '.*' must be a duration of 1s to 36500d"
    ):
        load_prune({"older_than": text}, {})
    with pytest.raises(
        ConfigurationError, match=r"RECEIVER_RETENTION '.*' must be a duration of 1s to 36500d"
    ):
        load_serve({}, {**GOOD, "RECEIVER_RETENTION": text})


def test_commands_need_no_secrets() -> None:
    """Each reads what it needs, with defaults."""
    environ = {"RECEIVER_DB": "a.db"}
    assert load_serve({}, GOOD).retention_seconds is None
    assert load_prune({"older_than": "2d"}, environ)[1:3] == (172800.0, False)
    assert load_prune({"older_than": "2d", "dry_run": True}, environ).dry_run is True
    assert load_database({}, environ).database.location == "a.db"
    assert load_import({}, environ)[1:4] == (True, None, False)
    assert load_import({"file": "-", "skip_bad": True}, environ)[1:4] == (True, None, True)
    assert load_import({"file": "x", "db": "postgres://h/n"}, environ)[1:3] == (False, "x")
    with pytest.raises(ConfigurationError, match="--older-than=90d"):
        load_prune({}, environ)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({}, "give the repository's old and new name: --from=my-org/old --to=my-org/new"),
        ({"from": "a/b"}, "--from and --to must both be given, and must differ"),
        ({"from": "a/b", "to": "a/b"}, "--from and --to must both be given, and must differ"),
        ({"from": "a", "to": "a/b"}, "--from 'a' must be a full path such as my-org/my-repo"),
        ({"from": "/b", "to": "a/b"}, "--from '/b' must be a full path such as my-org/my-repo"),
        ({"from": "a/b", "to": "a/.."}, "--to 'a/..' has a part `.` or `..` between slashes"),
        ({"from": "a/b", "to": "a/" + "b" * 254}, "has 256 bytes; 1 to 255 are allowed"),
    ],
)
def test_names_that_are_refused(flags: dict[str, object], sentence: str) -> None:
    """Both names are full paths that differ; an import may have neither."""
    with pytest.raises(ConfigurationError, match=re.escape(sentence)):
        load_rename(flags, {})
    if flags:
        with pytest.raises(ConfigurationError, match=re.escape(sentence)):
            load_import(flags, {})
    else:
        assert load_import(flags, {}).rename is None
