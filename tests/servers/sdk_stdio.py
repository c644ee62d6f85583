"""A server written with the SDK: the referee of what we speak. Serves both eras."""

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("referee", instructions="Add with care.")


@server.tool()
async def add(a: int, b: int, context: Context) -> int:
    """Add two numbers."""
    await context.report_progress(1, 2, "half")
    return a + b


if __name__ == "__main__":
    server.run("stdio")
