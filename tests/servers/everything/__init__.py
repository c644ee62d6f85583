"""An MCP server that offers all that the official conformance suite asks for, in every era.

Run it over HTTP with `python -m tests.servers.everything --port 0` (it prints its URL as soon as it
listens), over stdio with `--stdio`. It stands on the SDK's low-level `Server`; what the SDK has no
word for (the tasks and skills extensions) is ours.

Its tools ask their questions in the way of the era that they are called in: as requests to a legacy
client, as `input_required` results to a modern one. So one server serves every crossing of a hub.

Not an example to copy: it keeps everything in memory and trusts whoever calls.
"""
