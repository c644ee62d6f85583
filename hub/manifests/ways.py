"""The ways to reach a server that its manifest names: `connect:`, and `replicas:` for further ones."""

from __future__ import annotations

from typing import Any, cast

from pydantic import BaseModel, ValidationError

from connectors import connector_class, kinds
from connectors.base import Connector
from hub.errors import Problem
from hub.manifests.problems import problems_of
from hub.manifests.route_rules import problems_of_replica
from hub.manifests.text import Document, Where
from hub.nearest import did_you_mean

__all__ = ["Ways"]


class Ways:
    """Reads them; asks for the kinds that there are only when one is named."""

    def __init__(self) -> None:
        self._kinds: dict[str, str] = {}

    def way(
        self, document: Document, base: Where, value: Any, problems: list[Problem]
    ) -> tuple[str, Connector | None]:
        """The kind that a mapping names, and its connector; what is wrong goes to `problems`.

        Args:
            base: Where the mapping stands.
        """
        self._kinds = self._kinds or kinds()
        known = sorted(self._kinds)
        one_of = f"Write exactly one of: {', '.join(known)}."
        if not isinstance(value, dict):
            problems.append(document.problem(base, f"must be a mapping. {one_of}"))
            return "", None
        named = [key for key in value if key in self._kinds]
        if len(named) != 1:
            problems.append(_not_one_kind(document, base, list(value), named, known, one_of))
            return "", None
        here: Where = (*base, named[0])
        try:
            model = connector_class(self._kinds[named[0]])
        except (ImportError, AttributeError) as error:
            message = f"cannot be used: {error}. Install again what adds this kind."
            problems.append(document.problem(here, message))
            return "", None
        shape = cast("type[BaseModel]", model)
        try:
            return named[0], cast(Connector, shape.model_validate(value))
        except ValidationError as error:
            problems.extend(problems_of(error, shape, document, base))
        return "", None

    def further(
        self,
        document: Document,
        first: tuple[str, Connector | None],
        values: tuple[Any, ...],
        problems: list[Problem],
    ) -> tuple[Connector, ...]:
        """Further ways to the same server: as the first, where nothing is said of one."""
        kind, connector = first
        if connector is None:
            return ()
        found: list[Connector] = []
        for position, value in enumerate(values):
            where: Where = ("replicas", position)
            same = value == {}
            other_kind, other = first if same else self.way(document, where, value, problems)
            if other is not None:
                problems.extend(problems_of_replica(document, where, (kind, connector), (other_kind, other)))
                found.append(other)
        return tuple(found)


def _not_one_kind(
    document: Document, base: Where, keys: list[str], named: list[str], known: list[str], one_of: str
) -> Problem:
    if named:
        both = " and ".join(f"'{kind}'" for kind in named)
        message = f"is a second way to reach the server: {both} stand side by side. Keep one."
        return document.problem((*base, named[1]), message)
    hint = did_you_mean(keys[0], known) if keys else ""
    if hint.startswith("Did"):
        return document.problem((*base, keys[0]), f"is not known here. {hint}")
    return document.problem(base, f"does not say how to reach the server. {one_of}")
