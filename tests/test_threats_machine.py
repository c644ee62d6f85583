"""Threat T26, from the same machine: another user of it, who can foresee where a hub's files are."""

from __future__ import annotations

import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import lock
from hub.commands.client import connect_to
from hub.errors import HomeError
from hub.failure import Failure
from hub.home import Home

OTHER = 54321
"""A user that there is not."""


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Home]:
    """A home whose path is too long for a socket, so that its sockets are in the temporary folder."""
    home = Home(tmp_path / ("far" * 40))
    sockets = home.admin_socket.parent
    assert sockets != home.state and not sockets.exists()
    home.path.mkdir()
    yield home
    shutil.rmtree(sockets, ignore_errors=True)


def refused(home: Home) -> str:
    with pytest.raises(HomeError) as raised, lock.held(home):
        pass
    return str(raised.value)


def test_t26_a_folder_for_sockets_that_others_may_write_to_or_have_made_is_not_used(far: Home) -> None:
    sockets = far.admin_socket.parent
    sockets.mkdir()
    sockets.chmod(0o777)
    assert "another user's" in refused(far)
    listener = socket.socket(socket.AF_UNIX)
    with listener:
        listener.bind(os.fspath(far.admin_socket))
        listener.listen()
        with pytest.raises(Failure, match="no socket in it is used"):
            connect_to(far.admin_socket)
        sockets.chmod(0o700)
        with connect_to(far.admin_socket):
            pass
    with lock.held(far):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to somebody else")
def test_t26_a_folder_for_sockets_that_is_another_users_is_not_used(far: Home, tmp_path: Path) -> None:
    sockets = far.admin_socket.parent
    sockets.mkdir(mode=0o700)
    os.chown(sockets, OTHER, OTHER)
    assert "another user's" in refused(far)
    sockets.rmdir()
    (tmp_path / "mine").mkdir(mode=0o700)
    sockets.symlink_to(tmp_path / "mine")
    os.chown(sockets, OTHER, OTHER, follow_symlinks=False)
    assert "another user's" in refused(far)
    sockets.unlink()


def test_the_hubs_folder_is_its_owners_alone_whatever_it_was(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.state.mkdir()
    home.state.chmod(0o777)
    with lock.held(home):
        assert stat.S_IMODE(home.state.stat().st_mode) == 0o700
