"""Users of the operating system, in the words of the record: `ann (uid 501)`."""

from __future__ import annotations

import os
import pwd

__all__ = ["os_user"]


def os_user(uid: int | None = None) -> str:
    """The user with that number; left out: of this process."""
    uid = os.getuid() if uid is None else uid
    try:
        return f"{pwd.getpwuid(uid).pw_name} (uid {uid})"
    except KeyError:
        return f"uid {uid}"
