"""Policies, tools and calls by chance, from a seed: dense enough that rules meet, miss and overlap."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["TOOLS", "a_call", "a_policy"]

SERVERS = ("git", "files")
NAMES = ("log", "read", "write", "reset", "log_all")
TAGS = ("safe", "costly")
PATHS = (
    "/srv/a",
    "/srv/a/",
    "/srv/./a",
    "/srv/b/../a",
    "/etc/x",
    "/srv/../etc/x",
    "//srv//a",
    "srv/a",
    "/",
    "/srv\\a",
)
TOOLS: list[dict[str, Any]] = [
    {
        "server": server,
        "own": own,
        "kind": "tool",
        "tags": [tag for tag, chosen in zip(TAGS, (position % 2, position % 3 == 0), strict=True) if chosen],
        "reads_only": own in ("log", "read", "log_all"),
    }
    for server in SERVERS
    for position, own in enumerate(NAMES)
]


def a_pattern(draw: random.Random) -> str:
    server, own = draw.choice(SERVERS), draw.choice(NAMES)
    return draw.choice(
        [f"{server}__{own}", f"{server}__*", "*", f"*__{own}", f"{server}__l?g*", "git__[*", "*_*_*"]
    )


def a_schema(draw: random.Random, name: str) -> dict[str, Any]:
    if name == "path":
        return draw.choice(
            [
                {"format": "path", "pattern": "^/srv/"},
                {"format": "path"},
                {"pattern": "^/srv/"},
                {"const": "/srv/a"},
                {"enum": ["/srv/a", "/etc/x"]},
                {"type": "string", "maxLength": 6},
            ]
        )
    if name == "count":
        return draw.choice(
            [
                {"maximum": 5},
                {"minimum": 2, "maximum": 7},
                {"const": 1},
                {"enum": [1, 2, True]},
                {"type": "integer"},
            ]
        )
    return draw.choice(
        [{"const": True}, {"type": "boolean"}, {"const": "x"}, {"items": {"enum": ["x", "y"]}}]
    )


def a_target(draw: random.Random) -> dict[str, Any]:
    target: dict[str, Any] = {}
    if draw.random() < 0.7:
        target["use"] = [a_pattern(draw) for _ in range(draw.randint(1, 2))]
    if draw.random() < 0.15:
        target["server"] = [draw.choice(SERVERS)]
    if draw.random() < 0.15:
        target["tag"] = [draw.choice(TAGS)]
    if draw.random() < 0.15:
        target["readOnly"] = draw.random() < 0.6
    return target or {"use": ["*"]}


def a_rule(draw: random.Random) -> Any:
    rule = a_target(draw)
    if draw.random() < 0.6:
        names = draw.sample(["path", "count", "flag"], draw.choice((1, 1, 2, 3)))
        rule["with"] = {name: a_schema(draw, name) for name in names}
    if draw.random() < 0.2:
        rule["only"] = True
    if draw.random() < 0.12:
        when: dict[str, Any] = {}
        if draw.random() < 0.7:
            when["hours"] = draw.choice(["09:00-17:00", "22:00-06:00", "00:00-24:00"])
        if draw.random() < 0.5 or not when:
            when["days"] = draw.choice([["mon", "tue"], ["sat"], ["mon", "tue", "wed", "thu", "fri"]])
        rule["when"] = when
    return draw.choice(rule["use"]) if set(rule) == {"use"} and draw.random() < 0.3 else rule


def a_policy(draw: random.Random, depth: int = 0) -> dict[str, Any]:
    policy: dict[str, Any] = {
        "may": [a_rule(draw) for _ in range(draw.randint(0 if draw.random() < 0.1 else 1, 4))]
    }
    if draw.random() < 0.25:
        policy["never"] = [a_target(draw) if draw.random() < 0.5 else a_pattern(draw)]
    if depth < 2 and draw.random() < 0.2:
        policy["within"] = a_policy(draw, depth + 1)
    return policy


def a_call(draw: random.Random) -> tuple[dict[str, Any], dict[str, Any], int, int]:
    """A tool, arguments, a minute of the day and a day of the week."""
    arguments: dict[str, Any] = {}
    if draw.random() < 0.7:
        arguments["path"] = draw.choice([*PATHS, "/srv/a", "/srv/a", 7, None, ["/srv/a"]])
    if draw.random() < 0.6:
        arguments["count"] = draw.choice([0, 1, 2, 3, 5, 6, 1.0, 5.5, True, "1", None])
    if draw.random() < 0.5:
        arguments["flag"] = draw.choice([True, False, 1, "x", ["x"], ["x", "z"]])
    if draw.random() < 0.1:
        arguments["other"] = "x"
    return draw.choice(TOOLS), arguments, draw.randrange(1440), draw.randrange(7)
