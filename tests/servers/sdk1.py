"""A server on the SDK's first generation (mcp<2), in an environment of its own: `python sdk1.py [--http]`.

What it offers has the names that `tests.servers.everything` gives to the same, so the same tests use both.
Over HTTP it prints its URL once it listens.
"""

import socket
import sys

import anyio
import uvicorn
from mcp.server.fastmcp import Context, FastMCP
from mcp.server.fastmcp.prompts.base import Prompt
from mcp.server.fastmcp.resources import TextResource
from mcp.types import Completion, SamplingMessage, TextContent, ToolAnnotations
from pydantic import BaseModel

server = FastMCP("sdk1", instructions="Offers what the first generation of the SDK has.", log_level="ERROR")
cancelled = 0


class User(BaseModel):
    username: str
    email: str


@server.tool(name="test_simple_text", annotations=ToolAnnotations(readOnlyHint=True), structured_output=False)
def simple_text() -> str:
    return "This is a simple text response for testing."


@server.tool(name="test_error_handling")
def error() -> str:
    raise ValueError("This tool intentionally returns an error for testing")


@server.tool(name="test_tool_with_progress")
async def progress(context: Context) -> str:
    for done in (0, 50, 100):
        await context.report_progress(done, 100, f"{done} of 100")
    return "done"


@server.tool(name="test_logging_tool")
async def logging(context: Context) -> str:
    for message in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await context.info(message)
    return "done"


@server.tool()
async def hang(context: Context) -> str:
    global cancelled
    try:
        await context.report_progress(0)
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        cancelled += 1
        raise
    return "never"


@server.tool(structured_output=False)
def cancellations() -> str:
    return str(cancelled)


@server.tool(name="test_elicitation", structured_output=False)
async def elicit(message: str, context: Context) -> str:
    answer = await context.elicit(message, schema=User)
    content = answer.data.model_dump_json() if answer.action == "accept" else "{}"
    return f"User response: action={answer.action}, content={content}"


@server.tool(structured_output=False)
async def ask_url(context: Context) -> str:
    answer = await context.elicit_url("Please sign in", "https://example.com/sign-in?for=tests", "sign-in-1")
    await context.session.send_elicit_complete("sign-in-1", context.request_id)
    return f"The user did: {answer.action}"


@server.tool(name="test_input_required_result_sampling", structured_output=False)
async def ask_model(context: Context) -> str:
    question = SamplingMessage(
        role="user", content=TextContent(type="text", text="What is the capital of France?")
    )
    answer = await context.session.create_message(
        [question], max_tokens=100, related_request_id=context.request_id
    )
    return f"The model said: {answer.content.text}"


@server.tool(name="test_input_required_result_list_roots", structured_output=False)
async def ask_roots(context: Context) -> str:
    answer = await context.session.list_roots()
    return f"You work in: {', '.join(str(root.uri) for root in answer.roots)}"


@server.tool(name="test_trigger_tool_change")
async def change_tools(context: Context) -> str:
    def dynamic() -> str:
        return "I was not always here."

    if any(tool.name == "test_dynamic_tool" for tool in await server.list_tools()):
        server.remove_tool("test_dynamic_tool")
    else:
        server.add_tool(dynamic, name="test_dynamic_tool")
    await context.session.send_tool_list_changed()
    return "The list of tools has changed."


@server.tool(name="test_trigger_prompt_change")
async def change_prompts(context: Context) -> str:
    prompts = server._prompt_manager._prompts
    if prompts.pop("test_dynamic_prompt", None) is None:
        server.add_prompt(Prompt.from_function(lambda: "I was not always here.", name="test_dynamic_prompt"))
    await context.session.send_prompt_list_changed()
    return "The list of prompts has changed."


@server.tool(name="test_trigger_resource_change")
async def change_resources(context: Context) -> str:
    resources = server._resource_manager._resources
    if resources.pop("test://dynamic-resource", None) is None:
        server.add_resource(
            TextResource(
                uri="test://dynamic-resource", name="dynamic-resource", text="I was not always here."
            )
        )
    await context.session.send_resource_list_changed()
    return "The list of resources has changed."


@server.resource("test://static-text", mime_type="text/plain")
def static_text() -> str:
    return "This is the content of the static text resource."


@server.resource("test://template/{id}/data", mime_type="application/json")
def template(id: str) -> str:
    return f'{{"id":"{id}","data":"Data for ID: {id}"}}'


@server.prompt(name="test_prompt_with_arguments")
def with_arguments(arg1: str, arg2: str) -> str:
    return f"Prompt with arguments: arg1='{arg1}', arg2='{arg2}'"


@server.completion()
async def complete(ref, argument, context) -> Completion:
    known = {"arg1": ("paris", "park", "party"), "id": ("1", "12", "123")}.get(argument.name, ())
    values = [value for value in known if value.startswith(argument.value)]
    return Completion(values=values, total=len(values), hasMore=False)


if __name__ == "__main__":
    if "--http" in sys.argv:
        listener = socket.create_server(("127.0.0.1", 0))
        sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp\n")
        sys.stdout.flush()
        config = uvicorn.Config(server.streamable_http_app(), log_level="error", timeout_graceful_shutdown=1)
        uvicorn.Server(config).run(sockets=[listener])
    else:
        server.run()
