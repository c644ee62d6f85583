"""Turns what pydantic finds wrong into sentences: file, line, key, what is wrong, the fix.

No value is repeated unless it cannot be a secret (a version, one of a few words).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from hub.errors import Problem
from hub.manifests.text import Document, Where
from hub.nearest import did_you_mean, nearest

__all__ = ["problems_of"]

_QUOTE = "Write it in quotes"
_TYPES: Final = {
    "list": "must be a list. Write [first, second].",
    "tuple": "must be a list. Write [first, second].",
    "dict": "must be a mapping. Write {key: value}.",
    "model": "must be a mapping. Write {key: value}.",
    "bool": "must be true or false.",
    "int": "must be a whole number.",
    "float": "must be a number.",
}


def problems_of(
    error: ValidationError, model: type[BaseModel], document: Document, base: Where = ()
) -> list[Problem]:
    """One problem for each thing wrong.

    Args:
        base: Where in the document the value stands that `model` was asked to check.
    """
    found: list[Problem] = []
    for detail in error.errors(include_url=False):
        where = tuple(part for part in detail["loc"] if part != "[key]")
        message = _sentence(detail, model, where, document.spelled.get((*base, *where)))
        found.append(document.problem((*base, *where), message))
    return found


def _sentence(detail: Any, model: type[BaseModel], where: Where, spelled: str | None) -> str:
    kind: str = detail["type"]
    context = detail.get("ctx", {})
    if kind == "missing":
        return f"is missing. Add '{where[-1]}: ...'."
    if kind == "extra_forbidden":
        return f"is not known here. {did_you_mean(str(where[-1]), _keys_at(model, where[:-1]))}"
    if kind == "value_error":
        return str(context["error"])
    if detail["input"] is None and kind != "literal_error":
        return "is empty. Give it a value, or remove it."
    if kind == "string_type":
        return _not_text(detail["input"], str(where[-1]) if where else "", spelled)
    if kind == "literal_error":
        words = [str(word).strip("'") for word in str(context["expected"]).replace(" or ", ", ").split(", ")]
        near = nearest(str(detail["input"]), words)
        hint = f" Did you mean '{near}'?" if near is not None else ""
        return f"must be {' or '.join(words)}.{hint}"
    sentence = _TYPES.get(kind.split("_")[0]) if kind.endswith(("_type", "_parsing")) else None
    return sentence or detail["msg"].replace("Input should ", "must ") + "."


def _not_text(value: object, key: str, spelled: str | None) -> str:
    if isinstance(value, dict | list):
        return "must be text, not a list or mapping. Write one value."
    what = "true or false" if isinstance(value, bool) else "a number"
    if key == "version" and spelled is not None and not isinstance(value, bool):
        return f'was read as the number {value}. {_QUOTE}: "{spelled}".'
    return f"must be text, and was read as {what}. {_QUOTE}."


def _keys_at(model: type[BaseModel], where: Where) -> list[str]:
    """The keys that may stand at a place: follow it through the models."""
    models = [model]
    for part in where:
        fields = [field for each in models for field in _fields(each, part)]
        # A position in a list, or a free key of a mapping, is still the models it holds.
        models = [inner for field in fields for inner in _models_in(field.annotation)] if fields else models
    return sorted(field.alias or name for each in models for name, field in each.model_fields.items())


def _fields(model: type[BaseModel], part: str | int) -> Iterator[FieldInfo]:
    for name, field in model.model_fields.items():
        if part in (name, field.alias):
            yield field


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
