"""One hub holds a home; who only looks is never taken for one."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import anyio
import pytest

from hub import lock
from hub.errors import HomeError
from hub.failure import failure_of
from hub.home import Home
from hub.serve import serve
from hub.settings import Settings
from tests.homes import write


def looker(home: Home) -> int:
    """The lock as somebody has it who looks whether there is a hub."""
    home.create()
    descriptor = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def test_a_second_hub_is_told_who_holds_the_home(tmp_path: Path) -> None:
    home = Home(tmp_path)
    with lock.held(home):
        assert lock.is_held(home)
        with pytest.raises(HomeError, match=rf"process {os.getpid()}\) already serves"), lock.held(home):
            raise AssertionError("two hubs hold one home")
    assert not lock.is_held(home)


def test_a_hub_starts_while_somebody_looks_whether_there_is_one(tmp_path: Path) -> None:
    """Regression: `hub agents token` beside a starting hub made that one say that another served."""
    home = Home(tmp_path)
    gone = threading.Timer(0.05, os.close, [looker(home)])
    gone.start()
    with lock.held(home):
        assert lock.is_held(home)
    gone.join()


def test_two_who_look_do_not_take_each_other_for_a_hub(tmp_path: Path) -> None:
    home = Home(tmp_path)
    other = looker(home)
    try:
        assert not lock.is_held(home)
    finally:
        os.close(other)


@pytest.mark.parametrize("name", ["lock", "key", "audit.key", "tokens/me", "admin.sock", "stdio.sock"])
def test_a_file_of_the_hubs_own_that_cannot_be_used_is_named_when_it_starts(
    tmp_path: Path, name: str
) -> None:
    """Regression: "failed in an unforeseen way"."""
    write(tmp_path, "me", agent="me", may=["*"])
    (tmp_path / ".hub" / name).mkdir(parents=True)
    home = Home(tmp_path)
    with pytest.raises((HomeError, ExceptionGroup)) as refused:
        anyio.run(serve, home, Settings(port=0))
    told = failure_of(refused.value)
    assert told is not None
    assert "Is a directory" in told.message
    assert str(home.state) in told.message
