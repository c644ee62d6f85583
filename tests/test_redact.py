"""No secret reaches the record: by its name, by its tool's schema, by its shape; and nothing else is lost."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.audit.redact import Redactor, check_pattern, marked_names
from hub.model import Entry

SHAPES = {
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitLab token": "glpat-" + "x1Y2z" * 4,
    "API key": "sk-proj-" + "Ab3_" * 8,
    "Slack token": "xoxb-" + "123456789012-abcdef",
    "AWS key": "AKIA" + "ABCD2345EFGH6789",
    "Google key": "AIza" + "Sy1_" * 9,
    "npm token": "npm_" + "q1W2" * 9,
    "PyPI token": "pypi-" + "AgEIcHlwaS5vcmc" * 4,
    "Hugging Face token": "hf_" + "Zx1c" * 9,
    "hub token": "hub_" + "a-B_" * 10 + "abc",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.s1gn-at_ure",
    "private key": "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\nq1w2\n-----END EC PRIVATE KEY-----",
}


def text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def redacted(value: Any, *, names: tuple[str, ...] = (), patterns: tuple[str, ...] = ()) -> Any:
    return json.loads(Redactor(names, patterns).redact(text_of(value)))


@pytest.mark.parametrize(
    "key",
    ["password", "DB_PASSWORD", "clientSecret", "token", "githubToken", "X-Api-Key", "apiKey", "api_keys",
     "Authorization", "aws_secret_access_key", "privateKey", "set-cookie", "credentials", "pwd"],
)  # fmt: skip
def test_what_is_called_a_secret_is_none_of_the_record(key: str) -> None:
    said = redacted({"arguments": {key: "hunter2", "city": "Bonn"}})
    assert said == {"arguments": {key: f"[redacted: {key}]", "city": "Bonn"}}
    assert redacted({key: ["hunter2", {"a": 1234, "b": None, "c": True}]}) == {
        key: [f"[redacted: {key}]", {"a": f"[redacted: {key}]", "b": None, "c": True}]
    }


@pytest.mark.parametrize(
    "key", ["max_tokens", "tokens", "nextPageToken", "progressToken", "keyboard", "author"]
)
def test_what_only_sounds_like_a_secret_stays(key: str) -> None:
    text = text_of({key: "hunter2"})
    assert Redactor().redact(text) == text


@pytest.mark.parametrize("what", SHAPES)
@pytest.mark.parametrize("around", ["{}", "see {} there", "a\n{}", '"{}"', "ü:{},"])
def test_what_has_the_shape_of_a_secret_is_none_of_the_record(what: str, around: str) -> None:
    said = redacted({"content": [{"type": "text", "text": around.replace("{}", SHAPES[what])}]})
    assert said["content"][0]["text"] == around.replace("{}", f"[redacted: {what}]")


@pytest.mark.parametrize("what", SHAPES)
def test_a_secret_that_the_record_would_cut_is_none_of_it_either(what: str) -> None:
    cut = SHAPES[what][:-2] if what != "AWS key" else SHAPES[what]
    said = Redactor().redact(text_of({"truncated": True, "start": "x " + cut}))
    assert cut[12:] not in said
    assert cut[-6:] not in said


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("export GITHUB_TOKEN=abc123; ls", "export GITHUB_TOKEN=[redacted: token]; ls"),
        ("password: hunter2\nuser: me", "password: [redacted: password]\nuser: me"),
        ("Authorization: Bearer abc.def", "Authorization: [redacted: authorization]"),
        ('{"password": "a\\"b c", "n": 1}', '{"password": "[redacted: password]", "n": 1}'),
        ('{\\"secret\\": \\"x y\\", \\"n\\": 1}', '{\\"secret\\": \\"[redacted: secret]\\", \\"n\\": 1}'),
        ("https://me:hunter2@host/path", "https://me:[redacted: password]@host/path"),
        ("curl -H 'x: Bearer abcdefghijklmnop1234'", "curl -H 'x: Bearer [redacted: credential]'"),
        ("?access_token=abc&page=2", "?access_token=[redacted: token]&page=2"),
        ("a token is what proves it; max_tokens: 5", "a token is what proves it; max_tokens: 5"),
        ("git: task-runner-of-2026-with-a-long-name", "git: task-runner-of-2026-with-a-long-name"),
    ],
)
def test_secrets_in_the_middle_of_a_text_go_and_the_rest_stays(text: str, stored: str) -> None:
    assert redacted({"text": text}) == {"text": stored}
    assert redacted({"text": "x " * 3000 + text})["text"].endswith(stored)


def test_a_schema_marks_secrets_also_through_references_and_alternatives() -> None:
    schema = {
        "type": "object",
        "properties": {
            "pin": {"anyOf": [{"type": "string", "format": "password", "writeOnly": True}, {"type": "null"}]},
            "deep": {"type": "object", "properties": {"code": {"$ref": "#/$defs/Code"}}},
            "plain": {"type": "string"},
        },
        "$defs": {"Code": {"type": "string", "writeOnly": True}, "Loop": {"$ref": "#/$defs/Loop"}},
    }
    assert marked_names(schema) == {"pin", "code"}
    entry = Entry("tool", "bank", "pay", "bank__pay", "bank__pay", {"inputSchema": schema})
    redactor = Redactor()
    text = text_of({"arguments": {"pin": "1234", "deep": {"code": 77}, "plain": "x"}})
    assert json.loads(redactor.redact(text, redactor.marked(entry))) == {
        "arguments": {"pin": "[redacted: pin]", "deep": {"code": "[redacted: code]"}, "plain": "x"}
    }
    assert redactor.redact(text) is text
    assert redactor.marked(None) == frozenset()
    assert redactor.count == 2


def test_people_add_names_and_patterns_of_their_own() -> None:
    said = redacted(
        {
            "accountNumber": "12",
            "spin": 1,
            "pin": 9,
            "text": "account_number=77 CASE-12345, DE-1\nCASE-99999",
        },
        names=("account number", "pin"),
        patterns=(r"\bCASE-[0-9]{5}\b",),
    )
    assert said == {
        "accountNumber": "[redacted: accountNumber]",
        "spin": 1,
        "pin": "[redacted: pin]",
        "text": "account_number=[redacted: account_number] [redacted: pattern], DE-1\n[redacted: pattern]",
    }
    assert redacted({"t": "the word"}, patterns=("the w",)) == {"t": "[redacted: pattern]"}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("^ab", "leave ^ and $ out"),
        ("ab$", "leave ^ and $ out"),
        ("a*", "matches nothing at all"),
        ("(a", "is no regular expression of Rust's kind: unclosed group."),
        (r"(?=a)", "look-around"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_a_sentence(pattern: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("^", r"\^").replace("$", r"\$").replace("(", r"\(")):
        check_pattern(pattern)


def test_plain_text_and_the_numbers_around_a_secret_stay_as_they_are() -> None:
    redactor = Redactor()
    text = '{"a":1e2,"b":123456789012345678901234567890,"password":"x","a2":1.0}'
    assert redactor.redact(text) == text.replace('"x"', '"[redacted: password]"')
    assert redactor.redact("https://me:pw@host/a") == "https://me:[redacted: password]@host/a"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(
    JSON,
    st.sampled_from(sorted(SHAPES)),
    st.text(max_size=9),
    st.lists(st.sampled_from(["list", "dict", "dumps", "line"]), max_size=4),
)
def test_wherever_a_secret_stands_it_goes_and_twice_is_once(
    other: Any, what: str, before: str, wraps: list[str]
) -> None:
    secret = SHAPES[what]
    value: Any = before + "\n" + secret
    for wrap in wraps:
        if wrap == "list":
            value = [other, value]
        elif wrap == "dict":
            value = {"x": value, "y": other}
        else:
            value = text_of(value) if wrap == "dumps" else f"a line\n{value}\n"
    redactor = Redactor()
    stored = redactor.redact(json.dumps({"value": value}, ensure_ascii=False))
    assert secret[12:20] not in stored
    json.loads(stored)
    assert redactor.redact(stored) == stored


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_what_holds_no_secret_is_the_same_object(value: Any) -> None:
    text = text_of(value)
    assert Redactor().redact(text) is text


@pytest.mark.parametrize(
    "piece",
    ["secret: ", "eyJ", "eyJ.", "://", "://a:", "sk-", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----",
     "bearer ", 'password=\\"a', "\\", "token", "hub_", "xoxa-", "a ", "key: \t"],
)  # fmt: skip
def test_no_text_makes_it_slow(piece: str) -> None:
    """The slowest is thirty times quicker than this, and what is quadratic takes minutes."""
    redactor = Redactor(("account number",), ("CASE-[0-9]+",))
    text = text_of({"text": piece * (64_000 // len(piece)), "password": "x"})
    began = time.process_time()
    redactor.redact(text)
    assert time.process_time() - began < 3
