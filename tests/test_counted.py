"""What is counted is said as people say it."""

from __future__ import annotations

import pytest

from hub.counted import counted


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 entries"), (1, "1 entry"), (2, "2 entries"), (21, "21 entries")]
)
def test_one_is_said_of_one_thing_and_the_plural_of_any_other_number(count: int, said: str) -> None:
    assert counted(count, "entry", "entries") == said
