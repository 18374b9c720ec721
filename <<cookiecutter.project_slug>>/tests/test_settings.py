"""The settings: their sources, and the messages about wrong ones."""

import ast
from pathlib import Path

import pytest
from pydantic import ValidationError

import << cookiecutter.__package_name >> as service
from << cookiecutter.__package_name >>.runtime.settings import (
    SettingsError,
    env_example,
    new_secret,
    parse_cookie_secret,
)
from << cookiecutter.__package_name >>.settings import Settings, load_settings

from .conftest import SECRET

PROJECT = Path(__file__).parents[1]
OTHER = "2:for-tests-only-next-9876543210-zyxwvutsrqponm"
URL = "<< cookiecutter.__database_scheme >>://user:pass-word@host/name"
FLAGS = ["autoreload", "compiled_template_cache", "static_hash_cache", "serve_traceback"]


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value comes from the command line, else the environment, else `.env`, else the default."""
    assert load_settings().port == 8888
    with (folder / ".env").open("a") as env:
        env.write("PORT=1001\n")
    assert load_settings().port == 1001
    monkeypatch.setenv("PORT", "1002")
    assert load_settings().port == 1002
    assert load_settings(port=1003).port == 1003
    assert load_settings(port=None).port == 1002


def test_a_deploy_names_the_release(folder: Path) -> None:
    """`.env.release`, which a deploy writes into each release, wins over `.env`."""
    with (folder / ".env").open("a") as env:
        env.write("RELEASE=old\n")
    (folder / ".env.release").write_text("RELEASE=20261125-081500-ab12cd34\n")
    assert load_settings().release == "20261125-081500-ab12cd34"


@pytest.mark.parametrize("name", [".env", ".env.release"])
def test_a_file_in_another_encoding_is_a_one_line_error(folder: Path, name: str) -> None:
    """The message has the file, the line and the remedy, and none of the file's content."""
    (folder / name).write_bytes(f"COOKIE_SECRET={SECRET}\n# für uns\n".encode("latin-1"))
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value) == f"{name}, line 2 is not UTF-8. Save the file as UTF-8."


def test_an_unreadable_file_is_a_one_line_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command of another user names the file that this user cannot read."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dotenv.main.open", refuse, raising=False)
    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(SettingsError, match=r"^\.env cannot be read: Permission denied\..*$"):
        load_settings()


def test_a_byte_order_mark_is_ignored(nowhere: Path) -> None:
    """Some Windows editors begin each file with a byte-order mark."""
    (nowhere / ".env").write_text(f"\ufeffCOOKIE_SECRET={SECRET}\n", encoding="utf-8")
    assert load_settings().cookie_secret == parse_cookie_secret(SECRET)


def test_a_named_file_is_read_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings for servers are not mixed with those of this machine; errors name the file."""
    monkeypatch.setenv("PORT", "1001")
    servers = folder / "production.env"
    servers.write_text(f"COOKIE_SECRET={OTHER}\nHOST=::1\n")
    settings = load_settings(_env_file=servers)
    assert (settings.cookie_secret, settings.port) == (parse_cookie_secret(OTHER), 8888)
    assert settings.host == "::1"
    servers.write_text("PORT=none\n")
    with pytest.raises(SettingsError, match=r"The settings are wrong \(.*production\.env\):"):
        load_settings(_env_file=servers)


def test_the_defaults_are_those_of_production(folder: Path) -> None:
    """The secret alone makes a safe configuration: no debug mode, and only on loopback."""
    settings = load_settings()
    assert settings.host == "127.0.0.1"
    assert settings.debug is False
    assert settings.debug_flags == {
        "autoreload": False,
        "compiled_template_cache": True,
        "static_hash_cache": True,
        "serve_traceback": False,
    }
    assert settings.log_level == "INFO"


def test_debug_mode_sets_all_four_flags(folder: Path) -> None:
    """DEBUG alone is Tornado's complete debug mode."""
    assert load_settings(debug=True).debug_flags == {
        "autoreload": True,
        "compiled_template_cache": False,
        "static_hash_cache": False,
        "serve_traceback": True,
    }


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("flag", FLAGS)
def test_each_flag_can_be_set_alone(folder: Path, flag: str, *, debug: bool) -> None:
    """A flag that is set wins over DEBUG; the other three follow DEBUG."""
    usual = load_settings(debug=debug).debug_flags
    for value in (True, False):
        flags = load_settings(debug=debug, **{flag: value}).debug_flags
        assert flags == usual | {flag: value}


def test_an_empty_variable_counts_as_unset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`PORT=`, as many process managers set it, is the same as no PORT."""
    monkeypatch.setenv("PORT", "")
    assert load_settings().port == 8888


def test_settings_are_immutable(folder: Path) -> None:
    """The settings of a process stay as they are at its start."""
    with pytest.raises(ValidationError):
        load_settings().port = 1


def test_all_wrong_settings_are_reported_together(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each problem has a line with the variable and the remedy, and shows no value."""
    wrong = {
        "COOKIE_SECRET": "wrong-secret",
        "PORT": "wrong-port",
        "LOG_LEVEL": "wrong-level",
        "DRAIN_SECONDS": "-1.2345",
        "DEBUG": "wrong-debug",
        "RELEASE": "wrong release",
        "DATABASE_URL": "wrong-url",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    (nowhere / ".env").write_text("PROT=wrong-name\n")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    first, *lines = str(caught.value).splitlines()
    assert first == "The settings are wrong (environment, or .env in this folder):"
    assert {line.partition(":")[0].strip() for line in lines} == {*wrong, "PROT"}
    for value in (*wrong.values(), "wrong-name"):
        assert value not in str(caught.value)
    by_name = {line.partition(":")[0].strip(): line for line in lines}
    assert "no such setting; .env.example lists all" in by_name["PROT"]
    assert f"make one with `{service.COMMAND} secret new`" in by_name["COOKIE_SECRET"]
    assert "Port to listen on." in by_name["PORT"]


def test_without_a_secret_nothing_starts(nowhere: Path) -> None:
    """The error for a missing secret names the command that makes one."""
    with pytest.raises(SettingsError, match=f"COOKIE_SECRET.*{service.COMMAND} secret new"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        (SECRET, [1]),
        (SECRET.replace("1:", "20261231:", 1), [20261231]),
        (f"{OTHER},{SECRET}", [2, 1]),
        (f" {SECRET} , {OTHER} ", [1, 2]),
        pytest.param(f"1:{new_secret()}", [1], id="a new one"),
    ],
)
def test_good_secrets_are_accepted_in_their_order(text: str, versions: list[int]) -> None:
    """The first secret signs."""
    assert list(parse_cookie_secret(text)) == versions


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not of the form"),
        ("x" * 40, "not of the form"),
        (f"{SECRET},", "not of the form"),
        (SECRET.replace("1:", "0:"), "not of the form"),
        (SECRET.replace("1:", "a:"), "not of the form"),
        (f"1:{SECRET[2:20]} {SECRET[20:]}", "not of the form"),
        (f"{SECRET},{SECRET}", "version 1 is given twice"),
        ("1:changeme", "version 1 is too easy to guess"),
        ("7:" + "01234567" * 5, "version 7 is too easy to guess"),
        ("1:" + "a" * 64, "version 1 is too easy to guess"),
    ],
)
def test_bad_secrets_are_refused_without_being_shown(text: str, reason: str) -> None:
    """Weak and ambiguous secrets are refused; the message does not contain them."""
    with pytest.raises(ValueError, match=reason) as caught:
        parse_cookie_secret(text)
    assert text[2:] == "" or text[2:] not in str(caught.value)


def test_new_secrets_are_long_and_never_the_same() -> None:
    """A new secret has more than 32 random bytes."""
    assert len({new_secret() for _ in range(100)}) == 100
    assert len(new_secret()) >= 43


def test_printed_settings_hide_secrets(folder: Path) -> None:
    """Settings in a message or a log show neither the secret nor a password."""
    settings = load_settings(database_url=URL)
    assert settings.database_url == URL
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert SECRET[2:] not in text
        assert "pass-word" not in text
        assert settings.host in text


def test_settings_errors_hide_secrets(folder: Path) -> None:
    """The error about one setting shows no other setting."""
    with pytest.raises(SettingsError, match="PORT") as caught:
        load_settings(database_url=URL, port="wrong")
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["nonsense+driver://host/name", "<< cookiecutter.database >>+nonsense:///file", "nonsense"]
)
def test_an_unknown_database_driver_is_a_wrong_setting(folder: Path, url: str) -> None:
    """A DATABASE_URL with an unknown driver is a wrong setting, not a later crash."""
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        load_settings(database_url=url)


def test_an_invalid_database_url_is_not_shown(folder: Path) -> None:
    """An unquoted password splits the URL in wrong places; the error shows no part of it."""
    with pytest.raises(SettingsError, match="DATABASE_URL") as caught:
        load_settings(database_url="<< cookiecutter.__database_scheme >>://user:p@ss:w0rd@host/name")
    assert "w0rd" not in str(caught.value)


def test_the_example_lists_every_setting() -> None:
    """`.env.example` matches the table of settings; `make fix` rewrites it."""
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    assert example == env_example(Settings)
    for name in Settings.model_fields:
        assert f"\n#{name.upper()}=" in example


def test_the_defaults_in_the_example_are_the_defaults(nowhere: Path) -> None:
    """The lines of the example, enabled as they are, change nothing."""
    (nowhere / ".env").write_text(f"COOKIE_SECRET={SECRET}")
    usual = load_settings()
    lines = (
        line.removeprefix("#") for line in env_example(Settings).splitlines() if "# " not in line
    )
    (nowhere / ".env").write_text("\n".join([*lines, f"COOKIE_SECRET={SECRET}"]))
    assert load_settings() == usual


def test_nothing_else_reads_the_environment() -> None:
    """Settings are read in one place: only pydantic's file reads the environment."""
    package = Path(service.__file__).parent
    readers = {
        file.relative_to(package)
        for file in package.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"})
        or (isinstance(node, ast.alias) and node.name in {"environ", "environb", "getenv"})
    }
    assert readers <= {Path("runtime/settings.py")}
