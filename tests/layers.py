"""The house rules: what never imports what, and what no module does.

A rule takes one module and yields `(line, what is wrong)`. test_layers.py holds every source file to them,
and proves each on a module that breaks it. An exception is a name in one of the tables, with its reason.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

from tests.sources import Module

Finding = tuple[int, str]
Rule = Callable[[Module], Iterator[Finding]]

LINES_MAX = 400

PURE = (
    "hub.model", "hub.catalog", "hub.policy", "hub.errors", "hub.chain", "hub.templates", "hub.apps",
    "hub.nearest", "hub.route", "hub.schema_budget", "hub.rules.arguments", "hub.rules.curation",
    "hub.rules.judge", "hub.rules.moments", "hub.rules.narrow", "hub.rules.normal", "hub.rules.quota",
    "hub.rules.schemas",
)  # fmt: skip
PURE_MAY_IMPORT = (
    "__future__", "collections", "dataclasses", "enum", "functools", "hashlib", "itertools", "re", "typing",
    "pathlib",  # as a type: a path is no file
    "difflib", "decimal", "datetime", "zoneinfo",  # the rules of time zones come from the system, once
    "jsonschema_rs",  # judges values; told to fetch nothing
    "urllib.parse",  # text to text
)  # fmt: skip
ASKS_THE_WORLD = frozenset({"open", "print", "input", "exec", "eval", "__import__"})

NETWORK = (
    "h11", "http", "httptools", "httpx", "httpx2", "select", "selectors", "socket", "ssl",
    "starlette", "urllib.request", "uvicorn", "uvloop", "websockets",
)  # fmt: skip
NETWORK_IN = (
    "connectors",
    "hub.server",
    "hub.serve",  # opens the listeners, and gives them to hub.server
    "hub.bridge",  # a desktop client's end of the stdio socket
    "hub.commands.client",  # the command line's end of the admin socket
)
ASYNCIO_IN = (
    "connectors",
    "hub.server",
    "hub.store.writer",  # futures that a thread settles
    "hub.middleware.deadline",  # one ticking task for all calls: 1 us each, a cancel scope costs 3.5 to 10
)
JSON_OF_THE_WIRE = ("orjson", "jiter")
JSON_OF_THE_WIRE_IN = (
    "connectors",
    "hub.server",
    "hub.store.sealing",  # the canonical text that is hashed: orjson writes RFC 8785's at a tenth of its cost
)
JSON_TEXT_IN = (
    *JSON_OF_THE_WIRE_IN,
    "hub.commands.client", "hub.bridge",  # talk to a hub
    "hub.cli",  # `--json`
    "hub.commands.arguments",  # what a person types
    "hub.commands.schema",  # prints one
    "hub.commands.alone", "hub.commands.memo",  # speak as the admin socket does where no hub runs; keep that
    "hub.records", "hub.approvals.rows", "hub.identity.scopes",  # columns that hold JSON
    "hub.session", "hub.labels",  # the same
    "hub.middleware.check", "hub.results.shape",  # numbers as a JSON Schema validator wants them
    "hub.app",  # a fingerprint of what a manifest says
)  # fmt: skip

SQL = ("sqlite3", "sqlite_utils")
SQL_WORDS = (
    "SELECT ",
    "INSERT INTO ",
    "INSERT OR ",
    "DELETE FROM ",
    "CREATE TABLE ",
    "ALTER TABLE ",
    "PRAGMA ",
)
STORE_MAY_IMPORT = ("hub.store", "hub.model", "hub.errors", "hub.env", "hub.threads")

COMMANDS_FOR = (
    "hub.commands", "hub.cli", "hub.admin",
    "hub.review",  # of recorded calls, as a command shows them
    "hub.bridge", "hub.audit.leftover",  # connect to a hub, or wait for one, as a command does
)  # fmt: skip
WHOLE = ("hub.app", "hub.serve", "hub.admin.admin", "hub.cli", "hub.server")
CLOCKS_AND_CHANCE = ("time", "random", "uuid", "secrets")
CLOCK_CALLS = frozenset({"getrandom", "urandom", "utcnow", "monotonic_ns", "perf_counter"})

SDK = ("mcp", "mcp_types", "fastmcp")
MUTABLE = frozenset(
    {"dict", "list", "set", "bytearray", "defaultdict", "deque", "Counter", "OrderedDict", "ContextVar",
     "WeakKeyDictionary", "WeakValueDictionary", "WeakSet", "cache", "lru_cache"}
)  # fmt: skip
READ_ONLY = ("Mapping", "Sequence", "Set", "Collection", "Final", "tuple", "frozenset")
CHANGES = frozenset(
    {
        "append",
        "add",
        "update",
        "setdefault",
        "pop",
        "popitem",
        "clear",
        "extend",
        "insert",
        "remove",
        "discard",
    }
)


def is_one_of(target: str, names: tuple[str, ...]) -> bool:
    return any(target == name or target.startswith(f"{name}.") for name in names)


def imports_of(module: Module, names: tuple[str, ...], *, typing: bool = True) -> Iterator[Finding]:
    for each in module.imports:
        if is_one_of(each.target, names) and (typing or not each.typing):
            yield each.line, f"imports {each.target}"


def called(node: ast.Call) -> str:
    """The last part of what is called: `urandom` of `os.urandom(8)`."""
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def connectors_know_nothing_of_the_hub(module: Module) -> Iterator[Finding]:
    if module.within("connectors"):
        yield from imports_of(module, ("hub",))


def the_nouns_and_the_decision_are_pure(module: Module) -> Iterator[Finding]:
    if not module.within(*PURE):
        return
    for each in module.imports:
        if not is_one_of(each.target, PURE_MAY_IMPORT + PURE):
            yield each.line, f"imports {each.target}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call) and called(node) in ASKS_THE_WORLD:
            yield node.lineno, f"calls {called(node)}()"
        if isinstance(node, ast.Await | ast.AsyncFunctionDef) and module.name != "hub.chain":
            yield node.lineno, "can wait"


def the_wire_is_in_connectors_and_server_only(module: Module) -> Iterator[Finding]:
    if not module.within(*NETWORK_IN):
        yield from imports_of(module, NETWORK, typing=False)


def asyncio_stands_beneath_anyio_only_where_speed_asks_for_it(module: Module) -> Iterator[Finding]:
    if not module.within(*ASYNCIO_IN):
        yield from imports_of(module, ("asyncio",), typing=False)


def json_text_is_read_and_written_at_the_edges_only(module: Module) -> Iterator[Finding]:
    if not module.within(*JSON_OF_THE_WIRE_IN):
        yield from imports_of(module, JSON_OF_THE_WIRE)
    if not module.within(*JSON_TEXT_IN):
        yield from imports_of(module, ("json",))


def sql_is_in_the_store_only(module: Module) -> Iterator[Finding]:
    if module.within("hub.store"):
        return
    yield from imports_of(module, SQL, typing=False)
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and str(node.value).lstrip().startswith(SQL_WORDS):
            yield node.lineno, f"holds SQL: {str(node.value).strip()[:40]!r}"


def the_store_knows_only_nouns_errors_and_env(module: Module) -> Iterator[Finding]:
    if not module.within("hub.store"):
        return
    for each in module.imports:
        ours = is_one_of(each.target, ("hub", "connectors"))
        if ours and not is_one_of(each.target, STORE_MAY_IMPORT):
            yield each.line, f"imports {each.target}"


def no_middleware_knows_another_or_what_is_around_it(module: Module) -> Iterator[Finding]:
    if not module.within("hub.middleware") or module.package:
        return
    yield from imports_of(
        module, ("hub.middleware", "hub.hub", "hub.upstreams.fleet", "hub.server", "hub.app")
    )


def nothing_imports_the_command_line(module: Module) -> Iterator[Finding]:
    if not module.within("hub.cli", "hub.__main__"):
        yield from imports_of(module, ("hub.cli",))


def what_commands_do_is_for_people_only(module: Module) -> Iterator[Finding]:
    if not module.within(*COMMANDS_FOR):
        yield from imports_of(module, ("hub.commands",))


def only_the_app_knows_the_whole(module: Module) -> Iterator[Finding]:
    if module.within(*WHOLE):
        return
    fleet = list(imports_of(module, ("hub.upstreams.fleet",), typing=False))
    server = list(imports_of(module, ("hub.server",), typing=False))
    if fleet and server:
        yield fleet[0][0], "imports hub.upstreams.fleet and hub.server"


def clock_and_chance_come_through_env_only(module: Module) -> Iterator[Finding]:
    if module.within("hub.env"):
        return
    yield from imports_of(module, CLOCKS_AND_CHANCE, typing=False)
    # A scope's deadline is a moment of the event loop's clock, which is what fail_after() takes it from, too.
    deadlines = {
        call
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]).endswith(".deadline")
        for call in ast.walk(node.value)
    }
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.Call) or node in deadlines:
            continue
        name, text = called(node), ast.unparse(node.func)
        asks = name in CLOCK_CALLS or text in ("datetime.now", "datetime.datetime.now", "date.today")
        loop = name == "current_time" or (name == "time" and not node.args)
        if asks or (loop and not module.within("connectors")):
            yield node.lineno, f"calls {text}()"


def the_sdk_is_loaded_by_the_python_connector_alone(module: Module) -> Iterator[Finding]:
    for each in module.imports:
        where_it_may = each.typing or (each.lazy and module.within("connectors.python"))
        if is_one_of(each.target, SDK) and not where_it_may:
            yield each.line, f"imports {each.target} {'lazily' if each.lazy else 'at once'}"


def no_module_holds_mutable_state(module: Module) -> Iterator[Finding]:
    """A container at module level, or shared by a class, is annotated as read-only and is never changed."""
    for statement, in_class in shared_values(module):
        value = statement.value
        annotation = ast.unparse(statement.annotation) if isinstance(statement, ast.AnnAssign) else ""
        if in_class and annotation and not annotation.startswith(("ClassVar", "Final")):
            continue  # a field's default: the class copies it, or refuses it
        makes = isinstance(value, ast.Dict | ast.List | ast.Set | ast.DictComp | ast.ListComp | ast.SetComp)
        makes = makes or (isinstance(value, ast.Call) and called(value) in MUTABLE)
        inner = annotation.removeprefix("ClassVar[")
        if makes and not inner.startswith(READ_ONLY):
            yield statement.lineno, f"can be changed by anybody: {ast.unparse(statement)[:60]}"
    named = {ast.unparse(s.target) for s in module.tree.body if isinstance(s, ast.AnnAssign)}
    for node in ast.walk(module.tree):
        changed: ast.expr | None = None
        if isinstance(node, ast.Global):
            yield node.lineno, f"global {', '.join(node.names)}"
        elif isinstance(node, ast.FunctionDef):
            decorators = {ast.unparse(each).split("(")[0].rpartition(".")[2] for each in node.decorator_list}
            if decorators & {"cache", "lru_cache"}:
                yield node.lineno, f"{node.name} keeps what it returned for ever"
        elif isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load):
            changed = node.value
        elif (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES
        ):
            changed = node.func.value
        if changed is not None and ast.unparse(changed) in named:
            yield changed.lineno, f"changes {ast.unparse(changed)}"


def shared_values(module: Module) -> Iterator[tuple[ast.Assign | ast.AnnAssign, bool]]:
    """What is assigned at module or class level, `__all__` apart, and whether it is in a class."""
    classes = [node for node in ast.walk(module.tree) if isinstance(node, ast.ClassDef)]
    for body, in_class in [(module.tree.body, False), *((node.body, True) for node in classes)]:
        for statement in body:
            if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
                continue
            if isinstance(statement, ast.Assign | ast.AnnAssign):
                yield statement, in_class


def nothing_works_at_import(module: Module) -> Iterator[Finding]:
    """Commands are registered by the command line's decorators and calls; nothing else runs."""
    for statement in module.tree.body:
        if isinstance(statement, ast.For | ast.While | ast.With | ast.AsyncWith | ast.Delete | ast.AugAssign):
            yield statement.lineno, f"runs at import: {ast.unparse(statement)[:60]}"
        works = isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Constant)
        if works and not module.within("hub.cli", "hub.__main__"):
            yield statement.lineno, f"runs at import: {ast.unparse(statement)[:60]}"


def a_file_is_small_enough_to_read(module: Module) -> Iterator[Finding]:
    lines = module.source.count("\n")
    if lines > LINES_MAX:
        yield lines, f"{lines} lines, at most {LINES_MAX}"


def no_test_module_leans_on_another(module: Module) -> Iterator[Finding]:
    """What two of them need stands beside them, in a module that is no test."""
    for each in module.imports:
        if each.target.startswith("tests.test_"):
            yield each.line, f"imports {each.target}"


def a_module_says_what_it_is(module: Module) -> Iterator[Finding]:
    if module.source.strip() and not ast.get_docstring(module.tree):
        yield 1, "no docstring"


RULES_OF_THE_PRODUCT: tuple[Rule, ...] = (
    connectors_know_nothing_of_the_hub,
    the_nouns_and_the_decision_are_pure,
    the_wire_is_in_connectors_and_server_only,
    asyncio_stands_beneath_anyio_only_where_speed_asks_for_it,
    json_text_is_read_and_written_at_the_edges_only,
    sql_is_in_the_store_only,
    the_store_knows_only_nouns_errors_and_env,
    no_middleware_knows_another_or_what_is_around_it,
    nothing_imports_the_command_line,
    what_commands_do_is_for_people_only,
    only_the_app_knows_the_whole,
    clock_and_chance_come_through_env_only,
    the_sdk_is_loaded_by_the_python_connector_alone,
    no_module_holds_mutable_state,
    nothing_works_at_import,
)
RULES_OF_EVERY_FILE: tuple[Rule, ...] = (
    a_file_is_small_enough_to_read,
    a_module_says_what_it_is,
    no_test_module_leans_on_another,
)
