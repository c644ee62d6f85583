"""What can be read: resources, templates, prompts, and completion of their arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    BlobResourceContents,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    ContentBlock,
    EmbeddedResource,
    GetPromptRequestParams,
    GetPromptResult,
    ImageContent,
    InputRequiredResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    PaginatedRequestParams,
    Prompt,
    PromptArgument,
    PromptMessage,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    ResourceTemplateReference,
    TextContent,
    TextResourceContents,
)

from tests.servers.everything.asking import Asker, InputNeeded, ToolFailed, asker_of, field, form
from tests.servers.everything.samples import CONTEXT, IMAGE_BASE64
from tests.servers.everything.skills import read_skill_file, skill_resources
from tests.servers.everything.state import Context

STATIC_TEXT = "test://static-text"
STATIC_BINARY = "test://static-binary"
WATCHED = "test://watched-resource"
DYNAMIC = "test://dynamic-resource"
TEMPLATE = "test://template/{id}/data"
TEMPLATE_URI = re.compile(r"test://template/([^/]+)/data")

COMPLETIONS = {"arg1": ("paris", "park", "party"), "arg2": ("tea", "team"), "id": ("1", "12", "123")}

RESOURCES = (
    Resource(uri=STATIC_TEXT, name="static-text", description="Always the same text", mime_type="text/plain"),
    Resource(
        uri=STATIC_BINARY, name="static-binary", description="Always the same image", mime_type="image/png"
    ),
    Resource(uri=WATCHED, name="watched-resource", description="Says its version", mime_type="text/plain"),
)
DYNAMIC_RESOURCE = Resource(uri=DYNAMIC, name="dynamic-resource", description="Is here only now and then")
TEMPLATES = (
    ResourceTemplate(
        uri_template=TEMPLATE, name="template", description="Data of one id", mime_type="application/json"
    ),
)


async def list_resources(context: Context, params: PaginatedRequestParams | None) -> ListResourcesResult:
    dynamic = [DYNAMIC_RESOURCE] if context.lifespan_context.has_dynamic_resource else []
    return ListResourcesResult(resources=[*RESOURCES, *dynamic, *skill_resources()])


async def list_templates(
    context: Context, params: PaginatedRequestParams | None
) -> ListResourceTemplatesResult:
    return ListResourceTemplatesResult(resource_templates=list(TEMPLATES))


async def read_resource(context: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
    """Raises MCPError -32602, with the URI in its data, for what is not here (SEP-2164)."""
    uri = params.uri
    if uri == STATIC_BINARY:
        blob = BlobResourceContents(uri=uri, mime_type="image/png", blob=IMAGE_BASE64)
        return ReadResourceResult(contents=[blob])
    if uri == STATIC_TEXT:
        body, mime_type = "This is the content of the static text resource.", "text/plain"
    elif uri == WATCHED:
        body, mime_type = f"Version {context.lifespan_context.watched_version}", "text/plain"
    elif uri == DYNAMIC and context.lifespan_context.has_dynamic_resource:
        body, mime_type = "I was not always here.", "text/plain"
    elif (match := TEMPLATE_URI.fullmatch(uri)) is not None:
        data = {"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"}
        body, mime_type = json.dumps(data), "application/json"
    elif (file := read_skill_file(uri)) is not None:
        body, mime_type = file
    else:
        raise MCPError(code=INVALID_PARAMS, message="Resource not found", data={"uri": uri})
    return ReadResourceResult(contents=[TextResourceContents(uri=uri, mime_type=mime_type, text=body)])


@dataclass(frozen=True)
class OfferedPrompt:
    """A prompt, and how its messages come about from its arguments."""

    prompt: Prompt
    blocks: Callable[[dict[str, str], Asker], Awaitable[list[ContentBlock]]]


async def simple(arguments: dict[str, str], ask: Asker) -> list[ContentBlock]:
    return [TextContent(text="This is a simple prompt for testing.")]


async def with_arguments(arguments: dict[str, str], ask: Asker) -> list[ContentBlock]:
    return [
        TextContent(text=f"Prompt with arguments: arg1='{arguments['arg1']}', arg2='{arguments['arg2']}'")
    ]


async def with_resource(arguments: dict[str, str], ask: Asker) -> list[ContentBlock]:
    body = "Embedded resource content for testing."
    resource = TextResourceContents(uri=arguments["resourceUri"], mime_type="text/plain", text=body)
    return [
        EmbeddedResource(resource=resource),
        TextContent(text="Please process the embedded resource above."),
    ]


async def with_image(arguments: dict[str, str], ask: Asker) -> list[ContentBlock]:
    image = ImageContent(data=IMAGE_BASE64, mime_type="image/png")
    return [image, TextContent(text="Please analyze the image above.")]


async def with_question(arguments: dict[str, str], ask: Asker) -> list[ContentBlock]:
    answers = await ask({"user_context": form("What context should the prompt use?", CONTEXT)})
    return [TextContent(text=f"Mind the context: {field(answers['user_context'], 'context', 'none')}")]


def _offer(
    name: str,
    description: str,
    blocks: Callable[[dict[str, str], Asker], Awaitable[list[ContentBlock]]],
    *needs: str,
) -> OfferedPrompt:
    arguments = [PromptArgument(name=need, description=f"The {need}", required=True) for need in needs]
    return OfferedPrompt(Prompt(name=name, description=description, arguments=arguments or None), blocks)


PROMPTS = (
    _offer("test_simple_prompt", "A line of text", simple),
    _offer("test_prompt_with_arguments", "Repeats its arguments", with_arguments, "arg1", "arg2"),
    _offer("test_prompt_with_embedded_resource", "Carries a resource", with_resource, "resourceUri"),
    _offer("test_prompt_with_image", "Carries an image", with_image),
    _offer("test_input_required_result_prompt", "Asks for its context", with_question),
)
DYNAMIC_PROMPT = _offer("test_dynamic_prompt", "Is offered only now and then", simple)


def offered_prompts(context: Context) -> dict[str, OfferedPrompt]:
    """The prompts that are here at this moment, by name."""
    dynamic = (DYNAMIC_PROMPT,) if context.lifespan_context.has_dynamic_prompt else ()
    return {offered.prompt.name: offered for offered in (*PROMPTS, *dynamic)}


async def list_prompts(context: Context, params: PaginatedRequestParams | None) -> ListPromptsResult:
    return ListPromptsResult(prompts=[offered.prompt for offered in offered_prompts(context).values()])


async def get_prompt(
    context: Context, params: GetPromptRequestParams
) -> GetPromptResult | InputRequiredResult:
    """Raises MCPError -32602 for an unknown prompt, a missing argument, or a question that was refused."""
    offered = offered_prompts(context).get(params.name)
    if offered is None:
        raise MCPError(code=INVALID_PARAMS, message=f"Unknown prompt: {params.name}")
    arguments = params.arguments or {}
    missing = [needed.name for needed in offered.prompt.arguments or [] if needed.name not in arguments]
    if missing:
        raise MCPError(code=INVALID_PARAMS, message=f"Missing arguments: {', '.join(missing)}")
    try:
        blocks = await offered.blocks(arguments, asker_of(context, params))
    except InputNeeded as needed:
        return needed.result
    except ToolFailed as failure:
        raise MCPError(code=INVALID_PARAMS, message=str(failure)) from None
    return GetPromptResult(messages=[PromptMessage(role="user", content=block) for block in blocks])


async def complete(context: Context, params: CompleteRequestParams) -> CompleteResult:
    """What begins like the value so far, of a fixed list for each argument."""
    known = COMPLETIONS.get(params.argument.name, ())
    if isinstance(params.ref, ResourceTemplateReference) and params.ref.uri != TEMPLATE:
        known = ()
    values = [value for value in known if value.startswith(params.argument.value)]
    return CompleteResult(completion=Completion(values=values, total=len(values), has_more=False))
