"""The hub's own tools, for agents: the server `hub`, which no manifest names.

`definitions` says what they are, `own` stands where a server would; one module each has what they do.
"""
