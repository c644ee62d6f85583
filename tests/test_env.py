"""Ids and clocks of the real world."""

from __future__ import annotations

import string
from dataclasses import dataclass

import pytest

import hub.env
from hub.env import SystemEnv

CROCKFORD = string.digits + "abcdefghjkmnpqrstvwxyz"


def milliseconds(id: str) -> int:
    """Read back the first ten digits: five bits each, 48 of them the time."""
    value = 0
    for character in id[:10]:
        value = value * 32 + CROCKFORD.index(character)
    return value


def test_ids_are_unique_sort_by_creation_and_keep_to_their_alphabet() -> None:
    env = SystemEnv()
    ids = [env.new_id() for _ in range(20_000)]
    assert len(set(ids)) == len(ids)
    assert ids == sorted(ids)
    assert all(len(id) == 26 and set(id) <= set(CROCKFORD) for id in ids)


def test_an_id_begins_with_the_time_of_its_creation() -> None:
    env = SystemEnv()
    before = int(env.now() * 1000)
    id = env.new_id()
    assert before <= milliseconds(id) <= int(env.now() * 1000)


@dataclass
class BackwardClock:
    """Stands for the `time` module on a machine whose clock is set back."""

    seconds: float

    def time(self) -> float:
        self.seconds -= 3600
        return self.seconds


def test_ids_still_sort_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    env = SystemEnv()
    monkeypatch.setattr(hub.env, "time", BackwardClock(1_800_000_000.0))
    ids = [env.new_id() for _ in range(100)]
    assert ids == sorted(set(ids))


def test_two_hubs_do_not_draw_the_same_ids() -> None:
    first, second = SystemEnv(), SystemEnv()
    assert not {first.new_id() for _ in range(1000)} & {second.new_id() for _ in range(1000)}


def test_random_bytes_come_in_the_length_asked_for_and_never_twice() -> None:
    env = SystemEnv()
    drawn = [env.random_bytes(32) for _ in range(1000)]
    assert {len(each) for each in drawn} == {32}
    assert len(set(drawn)) == len(drawn)


def test_the_monotonic_clock_never_goes_back() -> None:
    env = SystemEnv()
    seen = [env.monotonic() for _ in range(1000)]
    assert seen == sorted(seen)
