"""What each mistake in a manifest is answered with: file, line, key, what is wrong, the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.manifests import manifest
from tests.manifests import TEA, problems
from tests.mistakes import BAD


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_mistake_is_answered_with_file_line_key_and_the_fix(
    text: str, expected: list[str], tmp_path: Path
) -> None:
    found = problems(tmp_path, text)
    assert len(found) == len(expected), found
    for said, words in zip(found, expected, strict=True):
        pattern = f"tea.yaml:{words}"
        if pattern.endswith("..."):
            assert said.startswith(pattern.removesuffix("..."))
        else:
            assert said == pattern
    loaded = manifest.load(tmp_path)
    assert (loaded.servers, loaded.agents) == ({}, {})


def test_bytes_that_are_no_text_are_said_with_their_line(tmp_path: Path) -> None:
    assert problems(tmp_path, TEA.encode() + b"title: \xff\n") == [
        "tea.yaml:3: is not UTF-8 text. Save it as UTF-8."
    ]


def test_no_value_that_may_be_secret_is_repeated(tmp_path: Path) -> None:
    text = (
        "server: tea\nconnect:\n  url: 8472\n  headers: {Authorization: 84727, X: [84728]}\n  token: 84729\n"
    )
    found = problems(tmp_path, text)
    assert len(found) == 4
    assert "8472" not in "".join(found)
