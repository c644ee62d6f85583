"""Every source file keeps the house rules of layers.py, and each rule finds what breaks it."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.layers import (
    RULES_OF_EVERY_FILE,
    RULES_OF_THE_PRODUCT,
    SDK,
    Rule,
    a_file_is_small_enough_to_read,
    a_module_says_what_it_is,
    asyncio_stands_beneath_anyio_only_where_speed_asks_for_it,
    clock_and_chance_come_through_env_only,
    connectors_know_nothing_of_the_hub,
    json_text_is_read_and_written_at_the_edges_only,
    no_middleware_knows_another_or_what_is_around_it,
    no_module_holds_mutable_state,
    no_test_module_leans_on_another,
    nothing_imports_the_command_line,
    nothing_works_at_import,
    only_the_app_knows_the_whole,
    sql_is_in_the_store_only,
    the_nouns_and_the_decision_are_pure,
    the_sdk_is_loaded_by_the_python_connector_alone,
    the_store_knows_only_nouns_errors_and_env,
    the_wire_is_in_connectors_and_server_only,
    what_commands_do_is_for_people_only,
)
from tests.sources import ROOT, Module, modules


def findings(rule: Rule, among: list[Module]) -> list[str]:
    return [f"{module.name}:{line}: {what}" for module in among for line, what in rule(module)]


@pytest.mark.parametrize("rule", RULES_OF_THE_PRODUCT, ids=lambda rule: rule.__name__)
def test_the_product_keeps_its_layers(rule: Rule) -> None:
    among = modules("connectors", "hub")
    assert len(among) > 15
    assert findings(rule, among) == []


@pytest.mark.parametrize("rule", RULES_OF_EVERY_FILE, ids=lambda rule: rule.__name__)
def test_every_file_can_be_read(rule: Rule) -> None:
    assert findings(rule, modules("connectors", "hub", "tests", "benchmarks")) == []


BROKEN: tuple[tuple[Rule, str, str], ...] = (
    (connectors_know_nothing_of_the_hub, "connectors.a", "def f():\n    from hub.model import Entry"),
    (connectors_know_nothing_of_the_hub, "connectors.a", "if TYPE_CHECKING:\n    import hub"),
    (the_nouns_and_the_decision_are_pure, "hub.policy", "import os"),
    (the_nouns_and_the_decision_are_pure, "hub.model", "from hub.upstreams.upstream import Upstream"),
    (the_nouns_and_the_decision_are_pure, "hub.catalog", "def f():\n    return open('x')"),
    (the_nouns_and_the_decision_are_pure, "hub.errors", "async def f(x):\n    await x"),
    (asyncio_stands_beneath_anyio_only_where_speed_asks_for_it, "hub.a", "from asyncio import Task"),
    (the_wire_is_in_connectors_and_server_only, "hub.middleware.a", "import socket"),
    (json_text_is_read_and_written_at_the_edges_only, "hub.cli.a", "def f():\n    import orjson"),
    (json_text_is_read_and_written_at_the_edges_only, "hub.hub", "import json"),
    (sql_is_in_the_store_only, "hub.upstreams.a", "import sqlite3"),
    (sql_is_in_the_store_only, "hub.admin.admin", "def f(x):\n    return x('SELECT id FROM calls')"),
    (sql_is_in_the_store_only, "hub.admin.admin", "def f(x):\n    return x(f'SELECT {x} FROM calls')"),
    (the_store_knows_only_nouns_errors_and_env, "hub.store.calls", "from hub.catalog import Catalog"),
    (the_store_knows_only_nouns_errors_and_env, "hub.store.calls", "from connectors import base"),
    (no_middleware_knows_another_or_what_is_around_it, "hub.middleware.a", "from hub.middleware import b"),
    (no_middleware_knows_another_or_what_is_around_it, "hub.middleware.a", "from . import b"),
    (no_middleware_knows_another_or_what_is_around_it, "hub.middleware.a", "from .b import record"),
    (no_middleware_knows_another_or_what_is_around_it, "hub.middleware.a", "from hub.hub import Hub"),
    (nothing_imports_the_command_line, "hub.app", "from hub.cli.output import table"),
    (nothing_imports_the_command_line, "connectors.a", "import hub.cli"),
    (what_commands_do_is_for_people_only, "hub.upstreams.a", "from hub.commands.edits import terms"),
    (only_the_app_knows_the_whole, "hub.a", "import hub.upstreams.fleet\nfrom hub.server import http"),
    (clock_and_chance_come_through_env_only, "hub.upstreams.a", "from time import monotonic"),
    (clock_and_chance_come_through_env_only, "hub.upstreams.a", "import os\nx = lambda: os.urandom(8)"),
    (clock_and_chance_come_through_env_only, "hub.a", "def f(datetime):\n    return datetime.now()"),
    (clock_and_chance_come_through_env_only, "hub.server.a", "def f(loop):\n    return loop.time()"),
    (clock_and_chance_come_through_env_only, "connectors.a", "import random"),
    (the_sdk_is_loaded_by_the_python_connector_alone, "connectors.python", "import mcp.server"),
    (the_sdk_is_loaded_by_the_python_connector_alone, "hub.upstreams.a", "def f():\n    import mcp_types"),
    (no_module_holds_mutable_state, "hub.a", "CACHE = {}"),
    (no_module_holds_mutable_state, "hub.a", "NAMES: Final = ['a']\ndef f():\n    NAMES.append('b')"),
    (no_module_holds_mutable_state, "hub.a", "NAMES: Final = {}\ndef f():\n    NAMES['b'] = 1"),
    (no_module_holds_mutable_state, "hub.a", "A: Final[dict[str, int]] = {}\ndel A['a']"),
    (no_module_holds_mutable_state, "hub.a", "class A:\n    seen = []"),
    (no_module_holds_mutable_state, "hub.a", "NAMES: dict[str, int] = dict(a=1)"),
    (no_module_holds_mutable_state, "hub.a", "class A:\n    seen: ClassVar[set[str]] = set()"),
    (no_module_holds_mutable_state, "hub.a", "def f():\n    global last\n    last = 1"),
    (no_module_holds_mutable_state, "hub.a", "@functools.cache\ndef f():\n    return []"),
    (nothing_works_at_import, "hub.a", "configure()"),
    (nothing_works_at_import, "hub.a", "for x in (1, 2):\n    y = x"),
    (a_file_is_small_enough_to_read, "hub.a", "x = 1\n" * 401),
    (a_module_says_what_it_is, "hub.a", "x = 1"),
    (no_test_module_leans_on_another, "tests.test_a", "from tests.test_b import furnish"),
)  # fmt: skip


@pytest.mark.parametrize(("rule", "name", "source"), BROKEN)
def test_each_rule_finds_what_breaks_it(rule: Rule, name: str, source: str) -> None:
    assert findings(rule, [Module(name, source)]) != []


def test_rules_let_pass_what_is_as_it_should_be() -> None:
    good = [
        Module("connectors.python", "'''A.'''\ndef f():\n    import mcp"),
        Module("hub.middleware", "'''A.'''\nfrom hub.middleware.record import record", package=True),
        Module("hub.a", "'''A.'''\nKINDS: Mapping[str, int] = {}\nX: Final = ['a']\nY = (1, 2)"),
        Module(
            "hub.a",
            "'''A.'''\nclass A:\n    x: ClassVar[frozenset[str]] = frozenset()\n    y: list[str] = []",
        ),
        Module("hub.a", "'''A.'''\nimport anyio\ndef f(env):\n    return env.now(), env.random_bytes(8)"),
        Module("hub.store.calls", "'''A.'''\nimport sqlite3\nfrom hub.model import Call\nQ = 'SELECT 1'"),
    ]
    for rule in RULES_OF_THE_PRODUCT + RULES_OF_EVERY_FILE:
        assert findings(rule, good) == []


def test_all_of_a_module_names_things_that_are_there_and_the_hub_s_is_exactly_its_surface() -> None:
    for module in modules("connectors", "hub"):
        bound, listed = set(), None
        for node in module.tree.body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                bound.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                bound |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                bound |= {name.id for t in targets for name in ast.walk(t) if isinstance(name, ast.Name)}
                if ast.unparse(targets[0]) == "__all__" and node.value is not None:
                    listed = set(ast.literal_eval(node.value))
        if listed is not None:
            lazy = "__getattr__" in bound
            assert lazy or listed <= bound, f"{module.name}: __all__ names {sorted(listed - bound)}"
        if module.name == "hub":
            public = {name for name in bound if not name.startswith("_")} - {"annotations"}
            assert listed == public | {"__version__"}


def test_every_module_loads_without_the_sdk() -> None:
    """Ours: importing `mcp` takes 1.4 s. Also what others import for us must not bring it in."""
    names = [module.name for module in modules("connectors", "hub") if not module.within("hub.__main__")]
    program = (
        "import importlib, sys\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
        f"sys.exit(','.join(name for name in {SDK!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
