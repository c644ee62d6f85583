"""The record: all SQL of the hub, one module a table family.

`db.Store` is what the running hub holds. `reading` and the plain functions of the families are for
a command line without a hub: they import neither anyio nor asyncio nor sqlite_utils, and so does
this file, which is why it re-exports nothing.

All times are whole milliseconds since 1970, UTC. All JSON is text that the caller has written.
"""
