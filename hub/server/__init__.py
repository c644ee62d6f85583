"""The hub as an MCP server: over HTTP and over pipes, in both eras."""

from hub.server.front import Front
from hub.server.http import HttpApp
from hub.server.stdio import serve_stdio, serve_stream
from hub.server.wire import Wire

__all__ = ["Front", "HttpApp", "Wire", "serve_stdio", "serve_stream"]
