"""The tools that ask nothing: content of every type, logs, progress, headers, and changes on demand."""

from __future__ import annotations

import anyio
from mcp_types import (
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)

from tests.servers.everything.asking import ToolFailed
from tests.servers.everything.offers import OfferedTool, Use, content, offer, text
from tests.servers.everything.reading import WATCHED
from tests.servers.everything.samples import AUDIO_BASE64, CONTACT, IMAGE_BASE64, object_schema, string

STEP_SECONDS = 0.05
RECONNECT_SECONDS = 0.2

IMAGE = ImageContent(data=IMAGE_BASE64, mime_type="image/png")
AUDIO = AudioContent(data=AUDIO_BASE64, mime_type="audio/wav")


def embedded(uri: str, mime_type: str, body: str) -> EmbeddedResource:
    """A text resource inside a result."""
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=mime_type, text=body))


async def simple_text(use: Use) -> CallToolResult:
    return text("This is a simple text response for testing.")


async def image(use: Use) -> CallToolResult:
    return content(IMAGE)


async def audio(use: Use) -> CallToolResult:
    return content(AUDIO)


async def embedded_resource(use: Use) -> CallToolResult:
    return content(
        embedded("test://embedded-resource", "text/plain", "This is an embedded resource content.")
    )


async def multiple_content_types(use: Use) -> CallToolResult:
    mixed = embedded("test://mixed-content-resource", "application/json", '{"test":"data","value":123}')
    return content(TextContent(text="Multiple content types test:"), IMAGE, mixed)


async def logging(use: Use) -> CallToolResult:
    await use.log("Tool execution started")
    await anyio.sleep(STEP_SECONDS)
    await use.log("Tool processing data")
    await anyio.sleep(STEP_SECONDS)
    await use.log("Tool execution completed")
    return text("Three messages were logged, where you wanted them.")


async def progress(use: Use) -> CallToolResult:
    await use.report(0)
    await anyio.sleep(STEP_SECONDS)
    await use.report(50)
    await anyio.sleep(STEP_SECONDS)
    await use.report(100)
    return text("Progress was reported three times, where you wanted it.")


async def error(use: Use) -> CallToolResult:
    raise ToolFailed("This tool intentionally returns an error for testing")


async def mirrored_header(use: Use) -> CallToolResult:
    return text(f"region={use.arguments.get('region')}")


async def json_schema(use: Use) -> CallToolResult:
    return text("The schema is the point.")


async def reconnection(use: Use) -> CallToolResult:
    await use.log("Before the stream is closed")
    if use.context.close_sse_stream is not None:
        await use.context.close_sse_stream()
    await anyio.sleep(RECONNECT_SECONDS)
    await use.log("After the client came back")
    return text("The answer comes on the stream that you came back on.")


async def change_tools(use: Use) -> CallToolResult:
    state = use.context.lifespan_context
    state.has_dynamic_tool = not state.has_dynamic_tool
    await state.changes.publish("notifications/tools/list_changed")
    return text("The list of tools has changed.")


async def change_prompts(use: Use) -> CallToolResult:
    state = use.context.lifespan_context
    state.has_dynamic_prompt = not state.has_dynamic_prompt
    await state.changes.publish("notifications/prompts/list_changed")
    return text("The list of prompts has changed.")


async def change_resources(use: Use) -> CallToolResult:
    state = use.context.lifespan_context
    state.has_dynamic_resource = not state.has_dynamic_resource
    await state.changes.publish("notifications/resources/list_changed")
    return text("The list of resources has changed.")


async def update_resource(use: Use) -> CallToolResult:
    state = use.context.lifespan_context
    state.watched_version += 1
    await state.changes.publish("notifications/resources/updated", {"uri": WATCHED})
    return text(f"{WATCHED} is now at version {state.watched_version}.")


async def dynamic(use: Use) -> CallToolResult:
    return text("I was not always here.")


REGION = object_schema(region={**string("Mirrored into Mcp-Param-Region"), "x-mcp-header": "Region"})

PLAIN_TOOLS: tuple[OfferedTool, ...] = (
    offer("test_simple_text", "Answers with a line of text", simple_text),
    offer("test_image_content", "Answers with an image", image),
    offer("test_audio_content", "Answers with a sound", audio),
    offer("test_embedded_resource", "Answers with a resource inside the result", embedded_resource),
    offer(
        "test_multiple_content_types", "Answers with text, an image and a resource", multiple_content_types
    ),
    offer("test_tool_with_logging", "Logs three messages while it works", logging),
    offer("test_logging_tool", "Logs three messages, to those only who asked for them", logging),
    offer("test_tool_with_progress", "Reports progress three times", progress),
    offer("test_error_handling", "Always fails", error),
    offer("test_x_mcp_header", "Says the region that it was given", mirrored_header, REGION),
    offer("json_schema_2020_12_tool", "Has a schema with the keywords of 2020-12", json_schema, CONTACT),
    offer(
        "test_reconnection",
        "Closes its stream in the middle; the client comes back for the answer",
        reconnection,
    ),
    offer("test_trigger_tool_change", "Adds a tool, or takes it away again", change_tools),
    offer("test_trigger_prompt_change", "Adds a prompt, or takes it away again", change_prompts),
    offer("test_trigger_resource_change", "Adds a resource, or takes it away again", change_resources),
    offer("test_trigger_resource_update", f"Changes what {WATCHED} says", update_resource),
)

DYNAMIC_TOOL = offer("test_dynamic_tool", "Is offered only now and then", dynamic)
