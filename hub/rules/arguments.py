"""What one rule says of the arguments of a call: what it fills in, respells, and lets through. Pure.

What was judged is what is sent: an argument that a rule respells (`format: path`, `format: uri`) goes
out in that spelling, and one whose value is fixed and that is missing goes out with it. All else goes
out as it came. Numbers are judged with all their digits.

Measured with the rest of the judgement: 4.6 us for one pattern, 5.8 where a path is respelled, 8.8 for a URI.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final

from hub.model import Json
from hub.policy import Rule
from hub.rules import normal
from hub.rules.schemas import Step, spellings, validator

if TYPE_CHECKING:
    import jsonschema_rs

__all__ = ["Arguments", "Unfit", "arguments_of", "exact"]

_MESSAGE_MAX: Final = 300
_PLAIN: Final = frozenset({str, int, bool, float, type(None), Decimal})


class Unfit(Exception):
    """Arguments that a rule does not let through: which, and what it must be, in words for a model."""

    def __init__(self, argument: str, must: str) -> None:
        super().__init__(f"{argument}: {must}")
        self.argument = argument
        self.must = must


@dataclass(frozen=True, slots=True)
class Arguments:
    """One rule's `with` and `only`, ready to judge."""

    names: frozenset[str]
    constants: Mapping[str, Any]
    """Filled in where they are missing."""
    respelled: tuple[tuple[str, tuple[Step, ...], str, bool], ...]
    """Argument, the way in it, `path` or `uri`, and whether a path may be relative."""
    only: bool
    schemas: Mapping[str, Any]
    validator: jsonschema_rs.Draft202012Validator | None

    def passed(self, given: Json, ours: frozenset[str] = frozenset()) -> Json:
        """What is to be sent for `given`: the same object where nothing changes.

        Args:
            ours: Arguments that the hub has filled in: `only` is about those that an agent gives.

        Raises:
            Unfit: the rule does not let it through.
        """
        made = given
        if self.only and not given.keys() <= self.names:
            name = next((name for name in given if name not in self.names and name not in ours), None)
            if name is not None:
                raise Unfit(name, "may not be given")
        for name in self.schemas:
            if name not in given:
                if name not in self.constants:
                    raise Unfit(name, f"must be given{_expected(self.schemas[name])}")
                made = {**made, name: self.constants[name]}
        for name, way, spelling, relative in self.respelled:
            value = made[name]
            try:
                respelled = _respelled(value, way, spelling, relative)
            except ValueError as error:
                raise Unfit(name, str(error)) from None
            if respelled is not value:
                made = {**made, name: respelled}
        if self.validator is not None:
            self._judge({name: made[name] for name in self.schemas})
        return made

    def _judge(self, named: Json) -> None:
        assert self.validator is not None
        try:
            if self.validator.is_valid(named):
                return
        except ValueError:
            pass  # A number that keeps its spelling, or a text that is no Unicode: looked at again.
        try:
            named = exact(named)
            if self.validator.is_valid(named):
                return
        except (ValueError, InvalidOperation):
            raise Unfit(next(iter(named)), "must be a value that can be judged") from None
        error = next(iter(self.validator.iter_errors(named)))
        name = str(error.instance_path[0]) if error.instance_path else next(iter(named))
        raise Unfit(name, _must(error))


def arguments_of(rule: Rule) -> Arguments | None:
    """What `rule` says of arguments, made once; `None` where it says nothing. Raises `ValueError`."""
    if not rule.judges:
        return None
    known: Arguments | None = rule.kept.get("arguments")
    if known is None:
        known = rule.kept["arguments"] = _made(rule)
    return known


def _made(rule: Rule) -> Arguments:
    schemas = rule.with_ or {}
    return Arguments(
        frozenset(schemas),
        {name: schema["const"] for name, schema in schemas.items() if "const" in schema},
        tuple((name, *each) for name, schema in schemas.items() for each in spellings(schema)),
        rule.only,
        schemas,
        validator(schemas) if schemas else None,
    )


def _respelled(value: Any, way: tuple[Step, ...], spelling: str, relative: bool) -> Any:
    """The value with what stands at the end of the way respelled; itself where that changes nothing.

    Raises:
        ValueError: it cannot be.
    """
    if not way:
        if type(value) is not str:
            return value  # Whether it may be something else is for its schema to say.
        made = normal.path(value, relative=relative) if spelling == "path" else normal.uri(value)
        return value if made == value else made
    step, rest = way[0], way[1:]
    if step == 0 and isinstance(value, list):
        items = [_respelled(item, rest, spelling, relative) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    if isinstance(step, str) and isinstance(value, dict) and step in value:
        made = _respelled(value[step], rest, spelling, relative)
        return value if made is value[step] else {**value, step: made}
    return value


def exact(value: Any) -> Any:
    """A value whose numbers are judged by all their digits. Raises `decimal.InvalidOperation`."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return value if type(value) in _PLAIN else Decimal(str(value))


def _must(error: jsonschema_rs.ValidationError) -> str:
    """What an argument must be, without its value where that may be long."""
    path = ".".join(map(str, error.instance_path[1:]))
    where, said = f"{path} " if path else "", error.kind.as_dict()
    match error.kind.name:
        case "pattern":
            must = f"must match {_word(said['pattern'])}"
        case "const":
            must = f"must be {_word(said['expected_value'])}"
        case "enum":
            must = f"must be one of {', '.join(map(_word, said['options']))}"
        case "type":
            must = f"must be of type {' or '.join(said['types'])}"
        case _:
            must = f"does not fit: {error.message[-_MESSAGE_MAX:]}"
    return f"{where}{must}"[: _MESSAGE_MAX * 2]


def _expected(schema: Any) -> str:
    if isinstance(schema, dict) and isinstance(schema.get("enum"), list):
        return f", as one of {', '.join(map(_word, schema['enum']))}"[:_MESSAGE_MAX]
    if isinstance(schema, dict) and "pattern" in schema:
        return f", and match {_word(schema['pattern'])}"
    return ""


def _word(value: Any) -> str:
    import jsonschema_rs

    return str(jsonschema_rs.canonical.json.to_string(value))[:_MESSAGE_MAX]
