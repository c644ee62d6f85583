"""The rules of an agent's manifest, as the decision takes them: what a person wrote, and where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hub.manifests.shapes import RuleShape, TargetShape, WhenShape
from hub.manifests.text import Document
from hub.policy import Rule, When

__all__ = ["rules_of"]


def rules_of(document: Document, key: str, shapes: Sequence[TargetShape]) -> Iterable[Rule]:
    """
    Args:
        key: `may` or `never`, where they stand.
    """
    for position, shape in enumerate(shapes):
        rule = Rule(
            f"{key}[{position}]",
            shape.use,
            document.line((key, position)),
            servers=shape.server,
            tags=shape.tag,
            read_only=shape.readOnly,
        )
        yield _with_conditions(rule, shape) if isinstance(shape, RuleShape) else rule


def _with_conditions(rule: Rule, shape: RuleShape) -> Rule:
    return Rule(
        rule.id,
        rule.use,
        rule.line,
        rule.servers,
        rule.tags,
        rule.read_only,
        with_=shape.with_ or None,
        only=shape.only,
        ask=shape.ask,
        when=None if shape.when is None else _when(shape.when),
        limits=None if shape.limits is None else shape.limits.quota(),
        repeat=shape.repeat,
    )


def _when(shape: WhenShape) -> When:
    return When(shape.days, shape.hours, shape.zone, shape.labels or None)
