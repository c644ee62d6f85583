"""The tools that need an answer from the client's side, and those that run as tasks."""

from __future__ import annotations

from typing import Any

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, CallToolResult, ElicitResult, InputRequest, ListRootsResult

from tests.servers.everything.asking import ToolFailed, field, form, roots, said, sampling
from tests.servers.everything.eras import may_ask, missing_capability
from tests.servers.everything.offers import OfferedTool, Use, as_json, offer, text
from tests.servers.everything.samples import (
    COLOR,
    CONFIRMATION,
    DEFAULTS,
    DELETION,
    ENUMS,
    NAME,
    USER,
    object_schema,
    string,
)

SECONDS_MAX = 3_600


async def sample(use: Use) -> CallToolResult:
    answers = await use.ask({"sample": sampling(str(use.arguments["prompt"]))})
    return text(f"LLM response: {said(answers['sample'])}")


async def elicit(use: Use) -> CallToolResult:
    return await _fill_in(use, str(use.arguments["message"]), USER, "User response")


async def elicit_defaults(use: Use) -> CallToolResult:
    return await _fill_in(use, "Please look over your details", DEFAULTS, "Elicitation completed")


async def elicit_enums(use: Use) -> CallToolResult:
    return await _fill_in(use, "Please choose", ENUMS, "Elicitation completed")


async def _fill_in(use: Use, message: str, schema: dict[str, Any], label: str) -> CallToolResult:
    answer = (await use.ask({"form": form(message, schema)}))["form"]
    assert isinstance(answer, ElicitResult)
    return text(f"{label}: action={answer.action}, content={as_json(answer.content or {})}")


async def missing_sampling(use: Use) -> CallToolResult:
    if not may_ask(use.context, "sampling/createMessage"):
        raise missing_capability({"sampling": {}})
    return text("You declare sampling, so I would have asked.")


async def ask_name(use: Use) -> CallToolResult:
    answers = await use.ask({"user_name": form("What is your name?", NAME)})
    return text(f"Hello, {field(answers['user_name'], 'name')}!")


async def ask_model(use: Use) -> CallToolResult:
    answers = await use.ask({"capital_question": sampling("What is the capital of France?")})
    return text(f"The model said: {said(answers['capital_question'])}")


async def ask_roots(use: Use) -> CallToolResult:
    answer = (await use.ask({"client_roots": roots()}))["client_roots"]
    assert isinstance(answer, ListRootsResult)
    return text(f"You work in: {', '.join(str(root.uri) for root in answer.roots) or 'no folder'}")


async def ask_with_state(use: Use) -> CallToolResult:
    answers = await use.ask({"confirm": form("Please confirm", CONFIRMATION)}, sealed=True)
    return text(f"state-ok: {field(answers['confirm'], 'ok')}")


async def ask_three_at_once(use: Use) -> CallToolResult:
    questions: dict[str, InputRequest] = {
        "user_name": form("What is your name?", NAME),
        "greeting": sampling("Generate a greeting", max_tokens=50),
        "client_roots": roots(),
    }
    answers = await use.ask(questions, sealed=True)
    return text(f"{said(answers['greeting'])}, {field(answers['user_name'], 'name')}!")


async def ask_twice(use: Use) -> CallToolResult:
    first = await use.ask({"step1": form("Step 1: What is your name?", NAME)}, sealed=True)
    second = await use.ask({"step2": form("Step 2: What is your favorite color?", COLOR)}, sealed=True)
    return text(f"{field(first['step1'], 'name')} likes {field(second['step2'], 'color')}.")


async def ask_what_is_possible(use: Use) -> CallToolResult:
    questions: dict[str, InputRequest] = {"sample": sampling("Say hello"), "ask": form("Who are you?", NAME)}
    possible = {key: question for key, question in questions.items() if may_ask(use.context, question.method)}
    answers = await use.ask(possible, sealed=True)
    return text(f"You answered: {', '.join(answers) or 'nothing'}")


async def greet(use: Use) -> CallToolResult:
    return text(f"Hello, {use.arguments['name']}!")


async def compute_slowly(use: Use) -> CallToolResult:
    seconds = min(float(use.arguments["seconds"]), SECONDS_MAX)
    await anyio.sleep(seconds)
    return text(f"{use.arguments.get('label', 'It')} took {seconds:g} seconds.")


async def fail(use: Use) -> CallToolResult:
    await anyio.sleep(1)
    raise ToolFailed("The job ran and failed, as always.")


async def break_protocol(use: Use) -> CallToolResult:
    raise MCPError(code=INTERNAL_ERROR, message="The job could not even run, as always.")


async def delete(use: Use) -> CallToolResult:
    answers = await use.ask({"confirm": form(f"Delete {use.arguments['filename']}?", DELETION)})
    return text(f"{use.arguments['filename']}: confirmed={field(answers['confirm'], 'confirm')}")


async def ask_in_parallel(use: Use) -> CallToolResult:
    answers = await use.ask({"name": form("Who are you?", NAME), "confirm": form("Are you sure?", DELETION)})
    return text(f"{field(answers['name'], 'name')}: confirmed={field(answers['confirm'], 'confirm')}")


async def prepare_greeting(use: Use) -> dict[str, Any]:
    answers = await use.ask({"user_name": form("Whom shall I greet?", NAME)}, sealed=True)
    return {"name": field(answers["user_name"], "name")}


SLOW = object_schema(
    ["seconds"], seconds={"type": "number", "minimum": 0}, label=string("What to call the work")
)

ASKING_TOOLS: tuple[OfferedTool, ...] = (
    offer(
        "test_sampling",
        "Asks the client's model",
        sample,
        object_schema(["prompt"], prompt=string("The prompt")),
    ),
    offer(
        "test_elicitation",
        "Asks the user",
        elicit,
        object_schema(["message"], message=string("The question")),
    ),
    offer("test_elicitation_sep1034_defaults", "Asks with a default for each type", elicit_defaults),
    offer("test_elicitation_sep1330_enums", "Asks with each kind of choice", elicit_enums),
    offer("test_streaming_elicitation", "Asks the user in the middle of the call", ask_name),
    offer("test_missing_capability", "Refuses a client that has no model", missing_sampling),
    offer("test_input_required_result_elicitation", "Asks for a name", ask_name),
    offer("test_input_required_result_sampling", "Asks the client's model for a capital", ask_model),
    offer("test_input_required_result_list_roots", "Asks for the client's folders", ask_roots),
    offer("test_input_required_result_request_state", "Counts an answer only with its state", ask_with_state),
    offer("test_input_required_result_multiple_inputs", "Asks three things at once", ask_three_at_once),
    offer("test_input_required_result_multi_round", "Asks one thing after the other", ask_twice),
    offer("test_input_required_result_tampered_state", "Refuses a state that was changed", ask_with_state),
    offer(
        "test_input_required_result_capabilities",
        "Asks only what the client can answer",
        ask_what_is_possible,
    ),
)

TASK_TOOLS: tuple[OfferedTool, ...] = (
    offer("greet", "Greets, at once", greet, object_schema(["name"], name=string("Whom to greet"))),
    offer("slow_compute", "Takes its time", compute_slowly, SLOW, task="optional"),
    offer("failing_job", "Runs as a task and fails", fail, task="required"),
    offer("protocol_error_job", "Runs as a task and breaks", break_protocol, task="optional"),
    offer(
        "confirm_delete",
        "Deletes nothing, but asks first",
        delete,
        object_schema(["filename"], filename=string("What not to delete")),
        task="optional",
    ),
    offer("multi_input", "Asks two things at once", ask_in_parallel, task="optional"),
    offer(
        "test_tool_with_task",
        "Asks for a name, then greets in a task",
        greet,
        task="required",
        prepare=prepare_greeting,
    ),
)
