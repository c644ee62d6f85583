"""Whether a tool's result is what its manifest wants it to be (`output:` of an override).

Judged is the structured content, or, where a tool gives none, the JSON in its one text: that is then passed
on as structured content too, because agents have been told of the schema. Not judged is what is no result yet
(a task, a question), and a tool's own failure. Numbers are judged by all their digits.

Measured: 1.3 us for a small object that fits.
"""

from __future__ import annotations

from decimal import InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from connectors.jsonrpc import Budget, Malformed, parse
from hub.model import Entry, Json, Result
from hub.route import CONTRACT, Contract
from hub.rules.arguments import exact
from hub.rules.schemas import validator

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["Contracts", "is_unfit"]

_KEY: Final = "it"
_WRONG_MAX: Final = 5
_MESSAGE_MAX: Final = 300
_KEPT_MAX: Final = 1024
_BUDGET: Final = Budget(8 * 1024 * 1024, 500_000)


class Contracts:
    def __init__(self) -> None:
        self._compiled: dict[int, tuple[Contract, jsonschema_rs.Draft202012Validator]] = {}

    def judged(self, entry: Entry, contract: Contract, result: Result) -> Result:
        """The result, with its structured content; or one that says that it is not what it has to be."""
        if result.get("isError") is True or result.get("resultType", "complete") != "complete":
            return result
        given, value = _value(result)
        wrong = self._wrong(contract, value) if given else ["it has no structured content"]
        if wrong:
            return _unfit(entry, wrong)
        return result if "structuredContent" in result else {**result, "structuredContent": value}

    def _wrong(self, contract: Contract, value: Any) -> list[str]:
        known = self._compiled.get(id(contract))
        if known is None or known[0] is not contract:
            if len(self._compiled) >= _KEPT_MAX:
                self._compiled.clear()
            known = self._compiled[id(contract)] = contract, validator({_KEY: contract.schema})
        try:
            errors = known[1].iter_errors({_KEY: exact(value)})
        except (InvalidOperation, RecursionError):
            return ["it cannot be judged"]
        wrong: list[str] = []
        for error in errors:
            where = ".".join(map(str, error.instance_path[1:]))
            wrong.append(
                f"{where}: {error.message}"[:_MESSAGE_MAX] if where else error.message[:_MESSAGE_MAX]
            )
            if len(wrong) == _WRONG_MAX:
                break
        return wrong


def is_unfit(result: Result) -> bool:
    """Whether a result says that it is not what it has to be."""
    meta = result.get("_meta")
    return type(meta) is dict and CONTRACT in meta


def _value(result: Result) -> tuple[bool, Any]:
    """Whether there is something to judge, and that."""
    if "structuredContent" in result:
        return True, result["structuredContent"]
    content = result.get("content")
    block = content[0] if type(content) is list and len(content) == 1 else None
    text = block.get("text") if type(block) is dict else None
    if type(text) is not str:
        return False, None
    try:
        return True, parse(text.encode(), _BUDGET)
    except (Malformed, UnicodeEncodeError):
        return False, None


def _unfit(entry: Entry, wrong: list[str]) -> Result:
    said = "\n".join(wrong)
    text = (
        f"{entry.name} was called and answered, but not as it has to (the hub checks its output), so its "
        f"answer is not passed on.\n{said}"
    )
    about: Json = {"wrong": wrong}
    return {"content": [{"type": "text", "text": text}], "isError": True, "_meta": {CONTRACT: about}}
