"""Other people's files about servers, in our own form: clients' configurations, registry entries.

A client's file has its servers under `mcpServers`, `servers`, `context_servers` or `mcp`; a
registry's `server.json` has `packages` and `remotes`. What is not understood is never dropped
without a word: the server that it belongs to is left out, with a sentence.

Sources: the clients' own documentation; the registry's server.json schema of 2025-12-11.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from hub.errors import ManifestError, Problem
from hub.manifests.text import Document, Where

__all__ = ["is_foreign", "servers"]

_CLIENT_KEYS: Final = ("mcpServers", "servers", "context_servers", "mcp")
_COMMAND: Final = ("command", "cmd")
_ENVIRONMENT: Final = ("env", "environment", "envs")
_URL: Final = ("url", "httpUrl", "serverUrl", "uri")
_HEADERS: Final = ("headers", "http_headers")
_STDIO: Final = frozenset({"stdio", "local"})
_HTTP: Final = frozenset({"http", "streamable-http", "streamableHttp", "streamable_http", "remote"})
_OWN_MANIFEST: Final = "Write this server as a manifest of its own."
_READ: Final = frozenset(
    {*_COMMAND, *_ENVIRONMENT, *_URL, *_HEADERS}
    | {"args", "cwd", "type", "disabled", "enabled", "isActive", "protocolEra", "title"}
    | {"tools", "includeTools", "enabled_tools", "excludeTools", "disabled_tools"}
)
_WITHOUT_EFFECT: Final = frozenset(
    {"name", "description", "icon", "autoApprove", "alwaysAllow", "trust", "timeout", "startup_timeout_sec"}
    | {"tool_timeout_sec", "default_tools_approval_mode", "gallery", "version", "source", "metadata", "roots"}
)
"""What clients keep for themselves: it allows a server nothing, and reaches none."""


def is_foreign(value: Mapping[str, Any]) -> bool:
    return _client_key(value) is not None or _is_registry(value)


def servers(document: Document, problems: list[Problem]) -> Iterator[Document]:
    """Each server that the file names, as a document in our own form with the file's lines."""
    key = _client_key(document.value)
    if key is None:
        parts: list[tuple[Where, Any]] = [((), document.value)]
    else:
        parts = [((key, name), value) for name, value in document.value[key].items()]
    for base, value in parts:
        part = Document(document.file, None, _lines(document, base), {}, base)
        try:
            made = _registry(part, value) if key is None else _client(part, str(base[-1]), value)
        except ManifestError as error:
            problems.extend(error.problems)
            continue
        if made is not None:
            yield Document(part.file, made, part.lines, part.spelled, part.base)


def _client_key(value: Mapping[str, Any]) -> str | None:
    return next((key for key in _CLIENT_KEYS if isinstance(value.get(key), dict)), None)


def _is_registry(value: Mapping[str, Any]) -> bool:
    listed = [value[key] for key in ("packages", "remotes") if key in value]
    return (
        isinstance(value.get("name"), str) and bool(listed) and all(isinstance(item, list) for item in listed)
    )


def _lines(document: Document, base: Where) -> dict[Where, int]:
    """Where the keys of our form come from: those that are called alike, else the whole."""
    lines: dict[Where, int] = {(): document.line(base)}
    for where, line in document.lines.items():
        if where[: len(base)] == base and len(where) > len(base):
            lines[where[len(base) :]] = line
            lines["connect", *where[len(base) :]] = line
    return lines


def _client(part: Document, name: str, value: Any) -> dict[str, Any] | None:
    """A client's entry; `None` where it is switched off. Raises `ManifestError`."""
    if not isinstance(value, dict):
        raise _wrong(part, (), "must be a mapping with 'command' or 'url'.")
    if value.get("disabled") is True or value.get("enabled") is False or value.get("isActive") is False:
        return None
    unknown = sorted(set(value) - _READ - _WITHOUT_EFFECT)
    if unknown:
        raise _wrong(
            part,
            (unknown[0],),
            f"is not understood. Remove it. Or: {_OWN_MANIFEST}",
        )
    made: dict[str, Any] = {"server": slug(name), "connect": _client_connect(part, value)}
    for key in ("cwd", "title"):
        if key in value:
            made[key] = _ours(value[key])
    if "protocolEra" in value:
        made["era"] = value["protocolEra"]
    allow = _first(value, ("tools", "includeTools", "enabled_tools"))
    deny = _first(value, ("excludeTools", "disabled_tools"))
    made["tools"] = {key: item for key, item in (("allow", allow), ("deny", deny)) if item is not None}
    return made


def _client_connect(part: Document, value: dict[str, Any]) -> dict[str, Any]:
    kind, command, url = value.get("type"), _first(value, _COMMAND), _first(value, _URL)
    if kind == "sse":
        raise _wrong(
            part,
            ("type",),
            "is the old transport, which is not supported. Use the server's Streamable HTTP address.",
        )
    if kind is not None and kind not in _STDIO | _HTTP:
        raise _wrong(part, ("type",), "is no transport that is known here. Write 'stdio' or 'http'.")
    if (command is None) == (url is None):
        raise _wrong(part, (), "must have either 'command' or 'url'.")
    if command is not None:
        arguments = value.get("args")
        argv = [*(command if isinstance(command, list) else [command]), *(arguments or [])]
        return {"command": _ours(argv), **_given("env", _ours(_first(value, _ENVIRONMENT)))}
    return {"url": _ours(url), **_given("headers", _ours(_first(value, _HEADERS)))}


def _registry(part: Document, value: dict[str, Any]) -> dict[str, Any]:
    """A registry's entry: its first package that can be installed here, else its first remote."""
    made: dict[str, Any] = {"server": slug(value["name"].rpartition("/")[2])}
    if isinstance(value.get("title"), str):
        made["title"] = value["title"]
    for position, package in enumerate(value.get("packages", ())):
        if (
            isinstance(package, dict)
            and package.get("registryType") in ("pypi", "npm")
            and _is_stdio(package)
        ):
            return {**made, "connect": _package(part, ("packages", position), package)}
    for remote in value.get("remotes", ()):
        if isinstance(remote, dict) and remote.get("type") == "streamable-http":
            headers = _named(remote.get("headers"))
            connect = {
                "url": _filled(remote.get("url"), remote.get("variables")),
                **_given("headers", headers),
            }
            return {**made, "connect": connect}
    message = "names neither a PyPI or npm package with stdio nor a streamable-http remote."
    raise _wrong(part, (), f"{message} {_OWN_MANIFEST}")


def _is_stdio(package: dict[str, Any]) -> bool:
    transport = package.get("transport")
    return not isinstance(transport, dict) or transport.get("type", "stdio") == "stdio"


def _package(part: Document, where: Where, package: dict[str, Any]) -> dict[str, Any]:
    for position, item in enumerate(_dicts(package.get("runtimeArguments"))):
        if _input(item) not in ("-y", "--yes"):
            place = (*where, "runtimeArguments", position)
            raise _wrong(
                part,
                place,
                f"is for a launcher that is not used here. {_OWN_MANIFEST}",
            )
    arguments: list[str] = []
    for item in _dicts(package.get("packageArguments")):
        given = _input(item)
        if given is None:
            continue
        arguments += [str(item.get("name")), given] if item.get("type") == "named" else [given]
    spec = {
        str(package["registryType"]): package.get("identifier"),
        "version": package.get("version"),
        **_given("args", arguments),
    }
    return {"package": spec, **_given("env", _named(package.get("environmentVariables")))}


def _named(items: Any) -> dict[str, str]:
    """Variables or headers that are given a value."""
    return {str(item.get("name")): text for item in _dicts(items) if (text := _input(item)) is not None}


def _input(item: dict[str, Any]) -> str | None:
    """What an argument, variable or header is: fixed, by default, or to be set where the hub runs.

    `None` where it may be left out.
    """
    if isinstance(item.get("value"), str):
        return str(_filled(item["value"], item.get("variables")))
    name = str(item.get("name") or item.get("valueHint") or "value").lstrip("-")
    if item.get("isSecret") is True:
        return f"${{secret:{name}}}" if item.get("isRequired") is True else None
    variable = re.sub(r"[^A-Za-z0-9_]", "_", name)
    if item.get("default") is not None:
        return f"${{{variable}:-{item['default']}}}"
    return f"${{{variable}}}" if item.get("isRequired") is True else None


def _filled(text: Any, variables: Any) -> Any:
    """`{name}` of a registry's text as our variables."""
    if not isinstance(text, str) or not isinstance(variables, dict):
        return text

    def fill(found: re.Match[str]) -> str:
        item = variables.get(found[1])
        made = _input({"name": found[1], "isRequired": True, **item}) if isinstance(item, dict) else None
        return found[0] if made is None else made

    return re.sub(r"\{([A-Za-z0-9_-]+)\}", fill, text)


def slug(name: str) -> str:
    """A server's name out of any: lower case, '-' for what may not stand in one, at most 24 characters."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"s-{plain}"
    return plain[:24].rstrip("-")


_variable = re.compile(r"\$?\{(env|input):([^}]*)\}|\$\{(workspaceFolder|userHome)\}")


def _ours(value: Any) -> Any:
    """Clients' ways to write variables as ours, in all texts of a value."""
    if isinstance(value, str):
        return _variable.sub(_our_variable, value)
    if isinstance(value, list):
        return [_ours(item) for item in value]
    if isinstance(value, dict):
        return {key: _ours(item) for key, item in value.items()}
    return value


def _our_variable(found: re.Match[str]) -> str:
    if found[3] is not None:
        return "${HUB_HOME}" if found[3] == "workspaceFolder" else "${HOME}"
    return f"${{secret:{found[2]}}}" if found[1] == "input" else f"${{{found[2]}}}"


def _first(value: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((value[key] for key in keys if value.get(key) is not None), None)


def _given(key: str, value: Any) -> dict[str, Any]:
    return {key: value} if value else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _wrong(part: Document, where: Where, message: str) -> ManifestError:
    return ManifestError([part.problem(where, message)])
