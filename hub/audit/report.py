"""What people ask of the audit: verify it, export it, tell its key.

Reads the database itself, whether a hub runs or not, after what a killed hub left is put there.
"""

from __future__ import annotations

from pathlib import Path

from hub.audit import leftover
from hub.audit.chain import Broken, Report, verify
from hub.audit.keys import is_signed_by, signer_at
from hub.audit.sources import DatabaseSource, FileSource, export, new_file
from hub.env import SystemEnv
from hub.errors import HomeError, InvalidParams
from hub.failure import Failure
from hub.home import Home
from hub.model import Json
from hub.records import earliest

__all__ = ["as_json", "exported", "public_key", "verified"]


def verified(home: Home, file: Path | None, first: int | None, key: str | None, head: str | None) -> Report:
    """Walk a home's chain, or the one in a file.

    Args:
        key: A public key; without one the home's own for its own record, and none for a file.
        head: `SEQ:HASH`.

    Raises:
        InvalidParams: a key or head that is none.
        Failure, StoreError: there is nothing to read.
    """
    noted = _head(head)
    if key is not None:
        try:
            is_signed_by(key, b"", bytes(64))
        except ValueError as error:
            raise InvalidParams(str(error)) from None
    if file is not None:
        if first is not None:
            raise InvalidParams("--from is for the hub's own record; an export is verified whole")
        try:
            return verify(FileSource(file), key=key, head=noted)
        except Broken as broken:
            return Report(broken=broken)
        except OSError as error:
            raise Failure("usage", f"{file} cannot be read: {error.strerror}.") from None
    if key is None and home.audit_key.exists():
        key = public_key(home)
    with leftover.one_moment(home) as connection:
        return verify(DatabaseSource(connection, first), key=key, head=noted)


def exported(home: Home, out: Path, since: str | None) -> int:
    """Write the chain to a file; how many entries. Raises `InvalidParams`, `StoreError`, `Failure`."""
    oldest = earliest(since, SystemEnv().now())
    with leftover.one_moment(home) as connection:
        try:
            with new_file(out) as file:
                return export(connection, file, oldest)
        except OSError as error:
            raise Failure("home", f"{out} cannot be written: {error.strerror}.") from None


def public_key(home: Home) -> str:
    """Raises `Failure`: there is none yet."""
    if not home.audit_key.exists():
        raise Failure("not_found", f"{home.audit_key} is not there yet.", "`hub serve` makes it.")
    try:
        return signer_at(home.audit_key, SystemEnv()).key
    except HomeError as error:
        raise Failure("home", str(error)) from None


def as_json(report: Report) -> Json:
    broken = report.broken
    return {
        "ok": broken is None,
        "entries": max(0, report.last - report.first + 1) if report.first else 0,
        "first": report.first,
        "last": report.last,
        "head": f"{report.last}:{report.hash.hex()}",
        "signed_through": report.signed_through,
        "checkpoints": report.checkpoints,
        "signed_with": list(report.keys),
        "calls": report.calls,
        "superseded": report.superseded,
        "payloads_deleted": report.payloads_deleted,
        "entries_deleted": report.entries_deleted,
        "broken": None
        if broken is None
        else {"what": broken.what, "entry": broken.seq, "call": broken.call, "message": broken.message},
    }


def _head(text: str | None) -> tuple[int, bytes] | None:
    if text is None:
        return None
    seq, _, hash = text.partition(":")
    try:
        found = (int(seq), bytes.fromhex(hash))
    except ValueError:
        found = (0, b"")
    if found[0] < 1 or len(found[1]) != 32:
        raise InvalidParams(f"--head {text[:80]!r}: write SEQ:HASH, as `hub audit verify` prints it")
    return found
