"""`hub__session` with `action: share`: named keys and results of a session, for another agent to see as well.

A person has to allow it, with a rule that says something of the argument `with`: otherwise what one agent
may know could reach another that may not. Whether there is such an agent is not said.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hub.builtin.own import Wrong, is_a_persons_word, said
from hub.env import Env
from hub.model import Call, Json, Result
from hub.sessions import Session, reach_of
from hub.store import results as results_table
from hub.store import shares
from hub.store.shares import ShareRow

if TYPE_CHECKING:
    from hub.store.db import Store

__all__ = ["Sharing"]


class Sharing:
    def __init__(self, store: Store, env: Env) -> None:
        self._store = store
        self._env = env

    async def share(self, call: Call, session: Session, arguments: Json) -> Result:
        """Share, or take back all that was shared with that agent where nothing is named."""
        reader = arguments.get("with")
        if not reader:
            raise Wrong("share needs `with`: the agent that is to see it.")
        if not is_a_persons_word(call, "with"):
            raise Wrong(
                "Sharing is not granted to this agent: a person has to allow it in the agent's manifest, "
                "with a rule about the argument 'with' of hub__session."
            )
        keys, results = arguments.get("keys", []), arguments.get("results", [])
        if not keys and not results:
            count = await self._store.write(partial(shares.take_back, session=session.id, reader=reader))
            return said(f"{reader} sees nothing of this session any longer ({count} taken back).")
        for id in results:
            row = await self._store.read(partial(results_table.get_result, id=id))
            if row is None or (row.agent, row.reach) != (call.agent.name, reach_of(call.agent)):
                raise Wrong(f"Unknown result: {id[:100]}. Nothing was shared.")
        write, now = int(arguments.get("write", False)), int(self._env.now() * 1000)
        rows = [
            *(ShareRow(session.id, call.agent.name, reader, "key", key, write, now) for key in keys),
            *(ShareRow(session.id, call.agent.name, reader, "result", id, 0, now) for id in results),
        ]
        wrong = await self._store.write(partial(shares.add, rows=rows))
        if wrong is not None:
            raise Wrong(f"Nothing was shared: {wrong}.")
        how = "and may change the keys" if write and keys else "and may only read them"
        return said(
            f"{reader} sees {', '.join([*keys, *results])} of this session now, {how}. It asks for a key "
            f'with hub__memory and "of": "{call.agent.name}".'
        )
