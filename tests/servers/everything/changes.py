"""Who hears of a change: `subscriptions/listen` streams of modern clients, sessions of legacy ones.

Like the SDK's `ListenHandler`, and besides it knows `taskIds` (SEP-2663), which that one drops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import anyio
from mcp.server import ServerRequestContext
from mcp.server.session import ServerSession
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import (
    EmptyResult,
    NotificationParams,
    ServerNotification,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)
from pydantic import BaseModel

from tests.servers.everything.eras import require_tasks

SESSIONS_MAX = 256
BACKLOG_MAX = 256

LIST_CHANGES = {
    "notifications/tools/list_changed": "tools_list_changed",
    "notifications/prompts/list_changed": "prompts_list_changed",
    "notifications/resources/list_changed": "resources_list_changed",
}


class Notification(BaseModel):
    """Any notification, as it goes over the wire; the SDK's union knows only its own."""

    method: str
    params: dict[str, Any] = {}


@dataclass
class LegacySession:
    """One initialized legacy client: its channel, and the resources that it watches."""

    session: ServerSession
    uris: set[str] = field(default_factory=set)


@dataclass
class Changes:
    """Everybody who listens at this moment. At most `SESSIONS_MAX` legacy sessions: the oldest goes first."""

    sessions: dict[str, LegacySession] = field(default_factory=dict)
    streams: set[Callable[[Notification], None]] = field(default_factory=set)

    async def initialized(self, context: ServerRequestContext[Any, Any], params: NotificationParams) -> None:
        """A legacy client is ready: from now on it hears of list changes."""
        self.sessions[_session_key(context)] = LegacySession(context.session)
        while len(self.sessions) > SESSIONS_MAX:
            del self.sessions[next(iter(self.sessions))]

    async def subscribe(
        self, context: ServerRequestContext[Any, Any], params: SubscribeRequestParams
    ) -> EmptyResult:
        """Legacy `resources/subscribe`."""
        if (known := self.sessions.get(_session_key(context))) is not None:
            known.uris.add(params.uri)
        return EmptyResult()

    async def unsubscribe(
        self, context: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        """Legacy `resources/unsubscribe`."""
        if (known := self.sessions.get(_session_key(context))) is not None:
            known.uris.discard(params.uri)
        return EmptyResult()

    async def publish(self, method: str, params: dict[str, Any] | None = None) -> None:
        """Tell everybody who asked for this kind of change."""
        notification = Notification(method=method, params=params or {})
        for deliver in list(self.streams):
            deliver(notification)
        if method == "notifications/tasks":
            return  # A legacy client has no word for it.
        for key, known in list(self.sessions.items()):
            if method in LIST_CHANGES or notification.params.get("uri") in known.uris:
                try:
                    await known.session.send_notification(cast(ServerNotification, notification))
                except (anyio.ClosedResourceError, anyio.BrokenResourceError):
                    self.sessions.pop(key, None)

    async def listen(
        self, context: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Modern `subscriptions/listen`: acknowledge first, then forward until the client goes away.

        A stream whose client does not read is ended at `BACKLOG_MAX` waiting notifications.
        """
        honored = _honored(params.notifications)
        if (honored.model_extra or {}).get("taskIds"):
            require_tasks(context)
        meta = {SUBSCRIPTION_ID_META_KEY: context.request_id}
        send, receive = anyio.create_memory_object_stream[Notification](BACKLOG_MAX)

        def deliver(notification: Notification) -> None:
            if _matches(honored, notification):
                try:
                    send.send_nowait(notification)
                except anyio.WouldBlock:
                    send.close()
                except anyio.ClosedResourceError:
                    self.streams.discard(deliver)

        async def forward(notification: Notification) -> None:
            stamped = notification.model_copy(update={"params": {**notification.params, "_meta": meta}})
            await context.session.send_notification(cast(ServerNotification, stamped), context.request_id)

        self.streams.add(deliver)
        try:
            accepted = honored.model_dump(by_alias=True, exclude_none=True)
            acknowledged = "notifications/subscriptions/acknowledged"
            await forward(Notification(method=acknowledged, params={"notifications": accepted}))
            async with receive:
                async for notification in receive:
                    await forward(notification)
        finally:
            self.streams.discard(deliver)
            send.close()
        return SubscriptionsListenResult(_meta=meta)


def _session_key(context: ServerRequestContext[Any, Any]) -> str:
    """The HTTP session's id; over stdio there is one session only."""
    return context.request.headers.get("mcp-session-id", "") if context.request is not None else "stdio"


def _honored(wanted: SubscriptionFilter) -> SubscriptionFilter:
    """What we deliver of what was asked for: every kind we know, nothing that is off or empty."""
    known = {
        "toolsListChanged",
        "promptsListChanged",
        "resourcesListChanged",
        "resourceSubscriptions",
        "taskIds",
    }
    asked = wanted.model_dump(by_alias=True, exclude_none=True)
    return SubscriptionFilter.model_validate(
        {key: value for key, value in asked.items() if key in known and value}
    )


def _matches(honored: SubscriptionFilter, notification: Notification) -> bool:
    if (flag := LIST_CHANGES.get(notification.method)) is not None:
        return bool(getattr(honored, flag))
    if notification.method == "notifications/resources/updated":
        return notification.params.get("uri") in (honored.resource_subscriptions or [])
    extra = honored.model_extra or {}
    return notification.method == "notifications/tasks" and notification.params.get("taskId") in extra.get(
        "taskIds", []
    )
