"""The hub: an MCP client to many tool servers and an MCP server to agents."""

__version__ = "0.1.0"
__all__ = ["__version__"]
