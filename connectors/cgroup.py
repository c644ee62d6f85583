"""How many processes one child and all that it starts may be: a control group of Linux for each such child.

The kernel counts there, threads too, and refuses the one too many (`fork`: EAGAIN). What the child starts is
in it as well, in a session of its own or not, and ends with it. `RLIMIT_NPROC` counts all that the user has.

A group needs a parent in which this process may make some: that is so for root, in a container that has its
control groups writable, and for any user in a systemd scope with `Delegate=yes`. Elsewhere it is refused.
"""

from __future__ import annotations

import errno
import os
import re
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Groups", "groups_here", "groups_of"]

_NOT_HERE: Final = (
    "`limits: {processes: ...}` needs a control group in which the hub may make others. Root has one; "
    "as another user start the hub with `systemd-run --user --scope --property=Delegate=yes hub serve`"
)
_PREFIX: Final = "hub-child-"


@dataclass(frozen=True, slots=True)
class Groups:
    """Where groups are made: the one of this process."""

    parent: Path
    unified: bool
    """Whether it is one of version 2."""

    def hold(self, pid: int, processes: int) -> None:
        """Put a process, which has started none yet, into a group of its own.

        Raises:
            OSError: it cannot be, and what to do about it.
        """
        group = self._group(pid)
        try:
            if self.unified:
                self._share_out()
            self._sweep()
            group.mkdir(exist_ok=True)
            if self.unified:
                # Beside our own processes only a group of this type may count; what it counts is the same.
                (group / "cgroup.type").write_text("threaded")
            (group / "pids.max").write_text(str(processes))
            (group / "cgroup.procs").write_text(str(pid))
        except ProcessLookupError:
            self.release(pid)  # It has ended already: its exit says why.
        except OSError as error:
            self.release(pid)
            raise OSError(errno.EPERM, f"{_NOT_HERE} ({error.strerror}: {group})") from None

    def release(self, pid: int) -> bool:
        """End what is left in a group, and remove it; `False` where that takes a moment: ask again."""
        group = self._group(pid)
        try:
            # Of the processes themselves version 2 does not tell, in groups of our type.
            left = (group / ("cgroup.threads" if self.unified else "cgroup.procs")).read_text().split()
            for each in map(int, left):
                with suppress(ProcessLookupError):
                    if each > 0:  # 0 is one that cannot be seen from here; to `kill` it is ourselves.
                        os.kill(each, signal.SIGKILL)
            group.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def _group(self, pid: int) -> Path:
        return self.parent / f"{_PREFIX}{pid}"

    def _share_out(self) -> None:
        control = self.parent / "cgroup.subtree_control"
        if "pids" not in control.read_text().split():
            control.write_text("+pids")

    def _sweep(self) -> None:
        """Remove those that a killed hub left."""
        for group in self.parent.glob(f"{_PREFIX}*"):
            pid = group.name.removeprefix(_PREFIX)
            if not Path("/proc", pid).exists():
                self.release(int(pid))


def groups_here() -> Groups:
    """Where this process can make groups. Raises `OSError`: nowhere."""
    try:
        own, mounts = Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text()
    except OSError:
        raise OSError(errno.ENOTSUP, _NOT_HERE) from None
    return groups_of(own, mounts)


def groups_of(cgroup: str, mounts: str) -> Groups:
    """Where groups can be made, by what `/proc/self/cgroup` and `/proc/self/mountinfo` say.

    Raises:
        OSError: nothing counts processes here.
    """
    own = {name: path for _, names, path in _rows(cgroup) for name in names.split(",")}
    for line in mounts.splitlines():
        fields, _, kind = line.partition(" - ")
        root, at = (_plain(each) for each in fields.split()[3:5])
        name, _, options = kind.split(" ", 2)
        unified = name == "cgroup2" and "pids" not in own
        if not unified and not (name == "cgroup" and "pids" in options.split()[-1].split(",")):
            continue
        path = own.get("" if unified else "pids")
        if path is None:
            continue
        inside = os.path.relpath(path, root)
        if not inside.startswith(".."):
            return Groups(Path(at, inside), unified)
    raise OSError(errno.ENOTSUP, _NOT_HERE)


def _rows(cgroup: str) -> list[list[str]]:
    return [line.split(":", 2) for line in cgroup.splitlines() if line.count(":") >= 2]


def _plain(field: str) -> str:
    """As the kernel has it: spaces and the like are written in octal."""
    return re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), field)
