"""What a command reads where no hub runs: the same queries, on a connection of its own, without a thread."""

from __future__ import annotations

from hub.store.approvals import ApprovalRow, find_approval, list_approvals
from hub.store.calls import CallFilter, CallRow, get_call, list_calls
from hub.store.connection import open_read_only
from hub.store.pins import PinRow, list_pins
from hub.store.pins import list_servers as list_pinned_servers
from hub.store.pins import texts as pinned_texts
from hub.store.results import Use
from hub.store.servers import ServerRow, known_since, list_servers
from hub.store.sessions import SessionRow, get_session, list_sessions, sessions_named
from hub.store.tokens import TokenRow, list_tokens, live_scopes
from hub.store.usage import UsageRow
from hub.store.usage import current as current_usage

__all__ = [
    "ApprovalRow",
    "CallFilter",
    "CallRow",
    "PinRow",
    "ServerRow",
    "SessionRow",
    "TokenRow",
    "UsageRow",
    "Use",
    "current_usage",
    "find_approval",
    "get_call",
    "get_session",
    "known_since",
    "list_approvals",
    "list_calls",
    "list_pinned_servers",
    "list_pins",
    "list_servers",
    "list_sessions",
    "list_tokens",
    "live_scopes",
    "open_read_only",
    "pinned_texts",
    "sessions_named",
]
