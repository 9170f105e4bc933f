"""What a ledger's URL may say, and what is said when it is wrong."""

from __future__ import annotations

from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apeiros_callbacks.environment import data_folder
from apeiros_callbacks.errors import ConfigError
from apeiros_callbacks.ledger import default_ledger_url, open_ledger
from apeiros_callbacks.ledger.url import SqliteUrl, parse_url, sqlite_url


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///ledger.db", "ledger.db"),
        ("sqlite:///data/team/ledger.db", "data/team/ledger.db"),
        ("sqlite:///../ledger.db", "../ledger.db"),
        ("sqlite:////srv/ledger.db", "/srv/ledger.db"),
        ("SQLite:////srv/ledger.db", "/srv/ledger.db"),
        ("sqlite:///C:/Users/ann/ledger.db", "C:/Users/ann/ledger.db"),
        ("sqlite:///C:\\Users\\ann\\ledger.db", "C:\\Users\\ann\\ledger.db"),
        ("sqlite:////srv/with space.db", "/srv/with space.db"),
        ("sqlite:////srv/with%20space.db", "/srv/with space.db"),
        ("sqlite:////srv/a%3Fb%25c%23d#e.db", "/srv/a?b%c#d#e.db"),
        ("sqlite:////srv/größe.db", "/srv/größe.db"),
        ("sqlite:///ledger", "ledger"),
    ],
)
def test_a_path(url: str, path: str) -> None:
    assert parse_url(url) == SqliteUrl(path=path, synchronous="NORMAL", timeout=5.0)


def test_memory() -> None:
    assert parse_url("memory:") == "memory:"


def test_a_drive_is_absolute_on_windows() -> None:
    options = parse_url("sqlite:///C:/Users/ann/ledger.db")
    assert isinstance(options, SqliteUrl)
    assert PureWindowsPath(options.path).is_absolute()


@pytest.mark.parametrize(
    ("query", "synchronous", "timeout"),
    [
        ("", "NORMAL", 5.0),
        ("synchronous=FULL", "FULL", 5.0),
        ("synchronous=full", "FULL", 5.0),
        ("synchronous=Normal", "NORMAL", 5.0),
        ("timeout=0.25", "NORMAL", 0.25),
        ("timeout=30&synchronous=FULL", "FULL", 30.0),
    ],
)
def test_options(query: str, synchronous: str, timeout: float) -> None:
    options = parse_url(f"sqlite:///ledger.db?{query}")
    assert isinstance(options, SqliteUrl)
    assert (options.synchronous, options.timeout) == (synchronous, timeout)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "must not be empty. Write 'memory:' for this process only, 'sqlite:///ledger.db'"),
        ("  ", "must not be empty"),
        (None, "a ledger is a string, got NoneType. Write 'memory:'"),
        (5, "a ledger is a string, got int"),
        (Path("ledger.db"), f"a ledger is a string, got {type(Path()).__name__}"),
        (b"memory:", "a ledger is a string, got bytes"),
        ("ledger.db", "'ledger.db' is a path, not the URL of a ledger. Write 'sqlite:///ledger.db'."),
        ("/srv/ledger.db", "Write 'sqlite:////srv/ledger.db'."),
        ("/srv/what?.db", "Write 'sqlite:////srv/what%3F.db'."),
        ("./data:1/ledger.db", "Write 'sqlite:///./data:1/ledger.db'."),
        ("C:\\ledger.db", r"Write 'sqlite:///C:\\ledger.db'."),
        ("C:/ledger.db", "Write 'sqlite:///C:/ledger.db'."),
        ("memory", "'memory' is a path"),
        ("memory://", "'memory://' is not a ledger. Write 'memory:'."),
        ("sqlite:ledger.db", "three slashes before the path, and a fourth when it is absolute"),
        ("sqlite://ledger.db", "Write 'sqlite:///ledger.db' or 'sqlite:////srv/ledger.db'."),
        ("sqlite:/srv/ledger.db", "three slashes"),
        ("sqlite:", "three slashes"),
        ("sqlite:///", "names no file. Write 'sqlite:///ledger.db'."),
        ("sqlite:////srv/", "names no file"),
        ("sqlite:///a%00b", "names no file"),
        ("sqlite:///?timeout=5", "names no file"),
        ("sqlite:///:memory:", "is not a file. Write 'memory:'."),
        ("sqlite:///~/ledger.db", "has a '~', which is not expanded. Write the whole path."),
        (
            "sqlite:///ledger.db?sync=FULL",
            "'sync' in 'sqlite:///ledger.db?sync=FULL' is not an option of a ledger",
        ),
        ("sqlite:///ledger.db?timeout=5&timeout=6", "'timeout' stands twice"),
        ("sqlite:///ledger.db?synchronous=OFF", "synchronous must be FULL or NORMAL, got 'OFF'"),
        ("sqlite:///ledger.db?synchronous=", "synchronous must be FULL or NORMAL, got ''"),
        ("sqlite:///ledger.db?timeout", "timeout must be a number of seconds above 0"),
        (
            "sqlite:///ledger.db?timeout=soon",
            "timeout must be a number of seconds above 0, such as timeout=5",
        ),
        ("sqlite:///ledger.db?timeout=0", "got '0'"),
        ("sqlite:///ledger.db?timeout=-1", "got '-1'"),
        ("sqlite:///ledger.db?timeout=nan", "got 'nan'"),
        ("sqlite:///ledger.db?timeout=inf", "got 'inf'"),
        ("mysql://ann:secret@db/apeiros", "there is no ledger for 'mysql:'. Write 'memory:'"),
        ("redis:secret", "there is no ledger for 'redis:'"),
    ],
    ids=repr,
)
def test_what_cannot_be_a_ledger(url: object, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_ledger(url)  # type: ignore[arg-type]
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])).map("/srv/{}.db".format))
def test_any_path_has_a_url(path: str) -> None:
    options = parse_url(sqlite_url(path))
    assert isinstance(options, SqliteUrl)
    assert options.path == path


def test_the_ledger_of_people_who_name_none() -> None:
    options = parse_url(default_ledger_url())
    assert isinstance(options, SqliteUrl)
    assert Path(options.path) == data_folder() / "ledger.db"
    assert Path(options.path).is_absolute()
