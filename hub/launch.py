"""From a command to a hub that runs: over HTTP, or on this process's stdin and stdout.

Several `hub serve --stdio` may start at the same moment: the home's lock decides which of them
becomes the hub; the others find it running and become bridges.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from hub.counted import counted
from hub.env import SystemEnv
from hub.errors import HomeError
from hub.home import Home

if TYPE_CHECKING:
    from hub.app import App
    from hub.server import Front
    from hub.settings import Settings

__all__ = ["serve_on_http", "serve_on_stdio"]

_RACE_SECONDS = 20.0
"""How long to wait for a hub that begins, or for one that ends (`grace` and its servers' end)."""
_RACE_STEP_SECONDS = 0.05
_LOOK_SECONDS = 0.25


def serve_on_http(
    home: Home,
    *,
    host: str | None,
    port: int | None,
    announce: Callable[[App, str], None],
    tell: Callable[[str, str], None],
) -> None:
    """Run until SIGINT or SIGTERM.

    Args:
        announce: Called with the agents' URL once all listeners are open.
        tell: Called as `(server, how it is)` for each server, once it has settled.

    Raises:
        HomeError, StoreError, ManifestError: it cannot start.
    """
    home.must_be_there()
    _run(home, _settings(home, host, port), announce, partial(_watch, tell=tell))


def serve_on_stdio(
    home: Home, agent: str, *, host: str | None, port: int | None, session: str | None = None
) -> None:
    """Speak with one agent on stdin and stdout until it closes them: as a bridge, else as the hub.

    Raises:
        Failure, HomeError, StoreError, ManifestError, Unauthorized: it cannot start.
    """
    home.must_be_there()
    from hub.bridge import bridge

    env = SystemEnv()
    end = env.monotonic() + _RACE_SECONDS
    speak = partial(_speak, name=agent, session=session)
    while not bridge(home, agent, session):
        from hub import lock

        try:
            # A free port: other clients' hubs, of other homes, would want the same one.
            _run(home, _settings(home, host, port or 0), lambda app, url: None, speak)
            return
        except HomeError:
            if not lock.is_held(home) or env.monotonic() > end:
                raise
        threading.Event().wait(_RACE_STEP_SECONDS)


def _settings(home: Home, host: str | None, port: int | None) -> Settings:
    from hub import settings

    given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    return settings.load(home.settings, **given)


def _run(
    home: Home,
    settings: Settings,
    announce: Callable[[App, str], None],
    attached: Callable[[App, Front], Any],
) -> None:
    import gc
    import logging
    import sys

    # What is loaded now stays: to look for garbage in it is a tenth of the start. `serve` turns it on again.
    gc.disable()

    import anyio

    from hub.serve import LogLines, serve

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogLines("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # What a reading of the manifests changes is news, and no warning.
    logging.getLogger("hub.manifests").setLevel(logging.INFO)
    anyio.run(
        partial(serve, home, settings, announce=announce, attached=attached),
        backend_options={"use_uvloop": sys.platform != "win32"},
    )


async def _watch(app: App, front: Front, *, tell: Callable[[str, str], None]) -> None:
    """Say how each server is, once it is known; then wait until the hub ends."""
    import anyio

    waiting = dict(app.fleet.upstreams)
    while waiting:
        for name, upstream in list(waiting.items()):
            if upstream.state == "failed":
                tell(name, f"failed: {upstream.reason}")
            elif upstream.known is not None and upstream.state != "starting":
                tools = len(upstream.known.definitions.get("tool", ()))
                how = "ready" if upstream.state == "ready" else "starts when it is used"
                tell(name, f"{how}, {counted(tools, 'tool')}, {upstream.known.version}")
            else:
                continue
            del waiting[name]
        await anyio.sleep(_LOOK_SECONDS)
        waiting = {name: upstream for name, upstream in waiting.items() if name in app.fleet.upstreams}
    await anyio.sleep_forever()


async def _speak(app: App, front: Front, *, name: str, session: str | None) -> None:
    from hub.server.stdio import serve_stdio

    agent = app.identities.local(name)
    await app.settle()
    await serve_stdio(front, agent, session)
