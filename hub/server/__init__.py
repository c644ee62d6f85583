"""The hub as an MCP server: over HTTP and over pipes, in both eras."""

from hub.server.front import Front
from hub.server.http import HttpApp
from hub.server.stdio import serve_stdio, serve_stream

__all__ = ["Front", "HttpApp", "serve_stdio", "serve_stream"]
