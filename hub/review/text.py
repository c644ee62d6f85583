"""Values as lines of a manifest: YAML as a person would write it, and nothing that YAML reads otherwise."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connectors.jsonrpc import encode
from hub.model import Json

__all__ = ["line", "mapping"]

_WIDTH = 100
_plain = re.compile(r"[A-Za-z/][A-Za-z0-9_./-]*").fullmatch
_word = re.compile(r"true|false|null|yes|no|on|off|y|n", re.IGNORECASE).fullmatch
_unprintable = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")


def line(value: Any) -> str:
    """On one line, as YAML's flow style."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{line(key)}: {line(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(line, value)) + "]"
    if isinstance(value, str) and _plain(value) and not _word(value):
        return value
    text = encode(value).decode()
    return _unprintable.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def mapping(value: Json) -> list[str]:
    """As an item of a list: a key a line, and what is long beneath its key."""
    said: list[str] = []
    for key, item in value.items():
        text = f"{line(key)}: {line(item)}"
        if isinstance(item, Mapping) and (len(text) > _WIDTH or len(item) > 1):
            said += [f"{line(key)}:", *(f"  {line(name)}: {line(each)}" for name, each in item.items())]
        else:
            said.append(text)
    return [f"{'- ' if at == 0 else '  '}{each}" for at, each in enumerate(said)]
