"""Settings and variables: what stands in hub.yaml, and what a manifest leaves to the machine."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from connectors.base import ConfigError
from hub import settings
from hub.errors import ManifestError
from hub.settings import TABLE, Settings
from hub.variables import expander


def written(folder: Path, text: str) -> Path:
    file = folder / "hub.yaml"
    file.write_text(text)
    return file


def test_without_a_file_the_defaults_count(tmp_path: Path) -> None:
    found = settings.load(tmp_path / "hub.yaml")
    assert found == Settings()
    assert (found.host, found.port) == ("127.0.0.1", 8420)
    assert settings.load(written(tmp_path, "# nothing yet\n")) == Settings()


def test_the_table_and_the_values_are_the_same_settings() -> None:
    """Ours: the command line prints the table, so it must be all there is, and true."""
    assert [row.field for row in TABLE] == [field.name for field in fields(Settings)]
    for row in TABLE:
        wanted = getattr(Settings(), row.field)
        given: object = (
            {"[]": [], "{}": {}}[row.default]
            if row.default in ("[]", "{}")
            else int(row.default)
            if row.default.isdigit()
            else row.default
        )
        assert row.read(given) == wanted, row.key
        assert row.help.endswith(".")


def test_a_file_counts_before_the_defaults_and_what_is_given_before_both(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "port: 9000\nallowed_hosts: [hub.local]\nsynchronous: full\nrecord: 1KiB\n"
        "session_idle: 90s\nmessage: 8MiB\n",
    )
    found = settings.load(file, port=0)
    assert (found.port, found.allowed_hosts, found.synchronous) == (0, ("hub.local",), "full")
    assert (found.record_bytes_max, found.session_idle, found.message_bytes_max) == (1024, 90.0, 8 * 1024**2)
    assert found.host == "127.0.0.1"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("host: x\nprot: 1\n", "2: prot: is not known here. Did you mean 'port'?"),
        ("port: '80'\n", "1: port: must be a whole number from 0 to 65535."),
        ("port: 65536\n", "1: port: must be a whole number from 0 to 65535."),
        ("port: true\n", "1: port: must be a whole number from 0 to 65535."),
        ("host: 127\n", "1: host: must be text. Write it in quotes."),
        ("allowed_hosts: hub.local\n", "1: allowed_hosts: must be a list of texts. Write [first, second]."),
        ("synchronous: off\n", "1: synchronous: must be normal or full."),
        ("grace: 10\n", "1: grace: 10 has no unit. Write it as 30s, 10m or 500ms."),
        ("message: 4MB\n", "1: message: 'MB' is not a unit. Write it as 64KiB or 4MiB."),
        ("starts_at_once: 0\n", "1: starts_at_once: must be a whole number from 1 to 64."),
        ("port: 1\nport: 2\n", "2: port: stands twice; the first is on line 1. Remove one."),
        ("- port\n", "1: is not a mapping. Write one 'setting: value' a line."),
        ("port: [\n", "2: is not YAML: "),
    ],
)
def test_a_mistake_is_answered_with_file_line_key_and_the_fix(text: str, said: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ManifestError) as failed:
        settings.load(file)
    assert str(failed.value).startswith(f"{file}:{said}")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as failed:
        settings.load(written(tmp_path, "port: x\ngrace: 1\nhots: y\n"))
    assert [problem.key for problem in failed.value.problems] == ["port", "grace", "hots"]


ENVIRON = {
    "POT": "green",
    "EMPTY": "",
    "TRICK": "${POT}",
    "HUB_DATA": "/stolen",
    "HUB_SECRET_A_KEY": "s3cret",
}


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("plain", "plain"),
        ("${POT}", "green"),
        ("a ${POT} b ${POT}", "a green b green"),
        ("${env:POT}", "green"),
        ("${NOPE:-black}", "black"),
        ("${NOPE:-}", ""),
        ("${POT:-black}", "green"),
        ("${EMPTY}", ""),
        ("${EMPTY:-black}", "black"),
        ("${env:NOPE:-black tea}", "black tea"),
        ("${TRICK}", "${POT}"),
        ("${NOPE:-$POT}", "$POT"),
        ("$POT $$POT $${POT}", "$POT $$POT $green"),
        ("${HUB_DATA}/x ${HUB_HOME}", "/data/x /home"),
        ("Bearer ${secret:a-key}", "Bearer s3cret"),
        ("${unfinished", "${unfinished"),
    ],
)
def test_variables_are_filled_in_once_and_never_again(text: str, filled: str) -> None:
    assert expander(ENVIRON, home=Path("/home"), data=Path("/data"))(text) == filled


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "${NOPE}",
            "the variable NOPE is not set. Set it where the hub starts, or write a default: ${NOPE:-value}.",
        ),
        ("x ${POT} ${env:NOPE}", "the variable NOPE is not set."),
        ("${secret:nope}", "the secret 'nope' is not set. Set it with `hub secrets set nope`"),
        ("${a b}", "'${a b}' names no variable. Write ${NAME}, ${NAME:-default} or ${secret:NAME}."),
        ("${}", "'${}' names no variable."),
        ("${POT-x}", "'${POT-x}' names no variable."),
    ],
)
def test_what_is_not_set_is_named_with_the_fix(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as failed:
        expander(ENVIRON, home=Path("/home"), data=Path("/data"))(text)
    assert str(failed.value).startswith(said)
    assert "green" not in str(failed.value)


def test_secrets_come_from_where_the_hub_says() -> None:
    fill = expander(ENVIRON, home=Path("/home"), data=Path("/data"), secrets={"key": "kept"}.get)
    assert fill("${secret:key}") == "kept"
    with pytest.raises(ConfigError, match="the secret 'a-key' is not set"):
        fill("${secret:a-key}")
