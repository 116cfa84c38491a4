"""Settings: flag over variable over default, and the sentence about a bad one."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from runmeter.service import values
from runmeter.service.errors import ConfigurationError
from runmeter.service.settings import Given, Setting, click_options

SETTINGS = (
    Setting("--addr", "X_ADDR", "HOST:PORT", ":80", "Where to listen."),
    Setting("--tls-key", "X_TLS_KEY", "FILE", None, "Key."),
    Setting("--token", "X_TOKEN", "TOKEN", None, "Token.", secret=True),
    Setting("--token-file", "X_TOKEN_FILE", "FILE", None, "Its file."),
    Setting("--key", "X_KEY", "KEY", None, "Keys.", secret=True, repeatable=True),
    Setting("--key-file", "X_KEY_FILE", "FILE", None, "Their file."),
    Setting("--proxies", "X_PROXIES", "NETWORKS", None, "Proxies.", repeatable=True),
    Setting("--migrate", "X_MIGRATE", "", None, "Migrate first.", commands=("serve", "import")),
    Setting("--older-than", "X_OLDER_THAN", "DURATION", None, "Age.", commands=("prune",)),
)


def given(flags: dict[str, object] | None = None, **environ: str) -> Given:
    """Return the settings of these flags and variables."""
    return Given(SETTINGS, flags or {}, environ)


def test_flag_over_variable_over_default() -> None:
    """A flag overrides its variable, a variable the default; an empty variable is not set."""
    assert given({"addr": ":1"}, X_ADDR=":2").value("addr", values.address).port == 1
    assert given({"addr": None}, X_ADDR=":2").value("addr", values.address).port == 2
    assert given(X_ADDR="").value("addr", values.address).port == 80
    assert given().maybe("tls_key", str) is None


def test_a_bad_value_is_one_sentence() -> None:
    """The sentence names the flag or variable that is used, the value and what is allowed."""
    with pytest.raises(ConfigurationError, match=r"^--addr 'x' must be host:port"):
        given({"addr": "x"}, X_ADDR=":2").value("addr", values.address)
    with pytest.raises(ConfigurationError, match=r"^X_ADDR 'y' must be host:port"):
        given(X_ADDR="y").value("addr", values.address)
    with pytest.raises(ConfigurationError, match=r"^--addr '' must be host:port"):
        given({"addr": ""}).value("addr", values.address)


def test_a_bad_secret_is_not_shown() -> None:
    """The sentence about a secret leaves its value out."""
    with pytest.raises(ConfigurationError, match=r"^X_TOKEN must be a whole number") as caught:
        given(X_TOKEN="hunter2").maybe("token", values.count())
    assert "hunter2" not in str(caught.value)


def test_a_repeated_flag() -> None:
    """Values of a repeated flag are joined with commas; without any the variable is used."""
    flags: dict[str, object] = {"proxies": ("a", "b,c")}
    assert given(flags, X_PROXIES="d").text("proxies") == "a,b,c"
    assert given({"proxies": ()}, X_PROXIES="d").text("proxies") == "d"


def test_switches() -> None:
    """A switch is a flag without value, or a yes or no in the variable."""
    assert given({"migrate": True}, X_MIGRATE="no").switch("migrate")
    assert not given({"migrate": False}, X_MIGRATE="yes").switch("migrate")
    assert given(X_MIGRATE="yes").switch("migrate")
    assert not given().switch("migrate")
    with pytest.raises(ConfigurationError, match=r"^X_MIGRATE 'x' must be true or false"):
        given(X_MIGRATE="x").switch("migrate")


def test_secrets(tmp_path: Path) -> None:
    """A secret is in its flag, its variable or a file; one newline at its end is dropped."""
    token, keys = tmp_path / "token", tmp_path / "keys"
    token.write_text("a b\n")
    keys.write_text("new key \nold\n\n")
    assert given().secret("token") is None
    assert given({"token": "t\n"}).secret("token") == ("--token", ("t",))
    assert given(X_TOKEN="t\n").secret("token") == ("X_TOKEN", ("t",))
    assert given({"token_file": str(token)}).secret("token") == ("--token-file", ("a b",))
    assert given(X_TOKEN="postgres://u:p@h/d\n").text("token") == "postgres://u:p@h/d"
    assert given({"key": ("a", "b\n")}, X_KEY="c").secret("key") == ("--key", ("a", "b"))
    assert given(X_KEY="c\nd\n").secret("key") == ("X_KEY", ("c", "d"))
    found = given(X_KEY_FILE=str(keys)).secret("key")
    assert found == ("X_KEY_FILE", ("new key ", "old", ""))


def test_a_secret_of_a_flag_counts_over_one_of_a_variable(tmp_path: Path) -> None:
    """A flag overrides a variable, whether value or file; both of the same kind are refused."""
    path = tmp_path / "token"
    path.write_text("from-file")
    assert given({"token_file": str(path)}, X_TOKEN="v").secret("token") == (
        "--token-file",
        ("from-file",),
    )
    assert given({"token": "flag"}, X_TOKEN_FILE=str(path)).secret("token") == (
        "--token",
        ("flag",),
    )
    with pytest.raises(ConfigurationError, match=r"^X_TOKEN and X_TOKEN_FILE are both given"):
        given(X_TOKEN="v", X_TOKEN_FILE=str(path)).secret("token")


def test_an_unreadable_file_of_a_secret(tmp_path: Path) -> None:
    """The sentence names flag, path and reason."""
    nowhere, raw = tmp_path / "nowhere", tmp_path / "raw"
    raw.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"^--token-file '.*nowhere' cannot be read: No s"):
        given({"token_file": str(nowhere)}).secret("token")
    with pytest.raises(ConfigurationError, match=r"^X_KEY_FILE '.*raw' cannot be read: it is not"):
        given(X_KEY_FILE=str(raw)).secret("key")


def test_click_options() -> None:
    """Each command has the flags of its rows; help says variable and default."""
    got: dict[str, object] = {}
    command = click.Command("x", params=list(click_options(SETTINGS)), callback=got.update)
    done = CliRunner().invoke(command, ["--addr=:1", "--key", "a", "--key=b", "--no-migrate"])
    assert done.exit_code == 0
    assert (got["addr"], got["key"], got["migrate"], got["token"]) == (
        ":1",
        ("a", "b"),
        False,
        None,
    )
    assert "older_than" not in got
    helped = " ".join(CliRunner().invoke(command, ["--help"]).output.split())
    assert "--addr HOST:PORT Where to listen. [X_ADDR; default :80]" in helped
    assert "--tls-key FILE Key. [X_TLS_KEY]" in helped
    assert [one.name for one in click_options(SETTINGS, "prune")] == ["older_than"]
