"""Keeps secrets out of the record: what is stored of params, results and errors goes through here first.

Only the record is touched; agent and server get what was sent. Three things tell a secret: the name that
it has (`password`, `apiKey`, `GITHUB_TOKEN=` in the middle of a text), the schema of its tool (`format:
password`, `writeOnly: true`), and its own shape (a GitHub token, a JWT, a private key, `https://user:…@`).
What is missed is what looks like any other word and is called like any other thing.

Nearly every text holds none, so one linear look at the whole text comes first: Rust's regex engine, which
pydantic brings, takes 0.4 us for a small call and 0.1 ms for 64 KiB, where `re` takes 14 us and 8 ms.
Everything behind that look is bounded per character, too: what a server says cannot make it slow.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

from pydantic_core import SchemaError, SchemaValidator, core_schema

from connectors.jsonrpc import Budget, Malformed, encode, parse
from hub.model import Entry

__all__ = ["NAMES", "Redactor", "check_pattern", "marked_names"]

NAMES: Final = (
    "password", "passwd", "passphrase", "secret", "token", "api key", "access key", "private key",
    "secret key", "authorization", "credential", "cookie",
)  # fmt: skip
"""Names of secrets, also with something before them (`dbPassword`, `X-Api-Key`), and in the plural."""

_HARMLESS: Final = (
    "pagetoken", "nexttoken", "progresstoken", "continuationtoken", "pagingtoken", "synctoken", "canceltoken",
)  # fmt: skip


def _begins(literal: str) -> str:
    """Behind `literal`: no word goes on here, unless its last letter is an escape's (JSON within JSON)."""
    return rf"(?:(?<![\w-]{literal})|(?<=\\[bfnrt]{literal}))"


_PEM: Final = "[A-Z ]{0,30}PRIVATE KEY-----"
_SHAPES: Final = (
    # Each begins with a literal, so that `re` finds where in one quick look, and goes on as one run, so that
    # a text is walked once. `\Z`: what is recorded is cut somewhere, perhaps in the middle of a token.
    ("private key", rf"-----BEGIN {_PEM}(?s:.*?)(?:-----END {_PEM}|\Z)"),
    ("GitHub token", r"gh[pousr]_(?:\w{20,}+|\w*+\Z)"),
    ("GitHub token", r"github_pat_(?:\w{20,}+|\w*+\Z)"),
    ("GitLab token", r"glpat-(?:[\w-]{16,}+|[\w-]*+\Z)"),
    ("API key", rf"sk[-_]{_begins('sk[-_]')}(?:(?=[\w-]{{0,40}}[0-9])[\w-]{{16,}}+|[\w-]*+\Z)"),
    ("API key", rf"rk_{_begins('rk_')}(?:live|test)_\w++"),
    ("Slack token", r"xox[a-z]-(?:[\w-]{8,}+|[\w-]*+\Z)"),
    ("AWS key", r"AKIA[A-Z0-9]{16}(?![A-Z0-9])"),
    ("AWS key", r"ASIA[A-Z0-9]{16}(?![A-Z0-9])"),
    ("Google key", r"AIza(?:[\w-]{30,}+|[\w-]*+\Z)"),
    ("npm token", r"npm_(?:\w{30,}+|\w*+\Z)"),
    ("PyPI token", r"pypi-(?:[\w-]{40,}+|AgE[\w-]*+\Z)"),
    ("Hugging Face token", r"hf_(?:\w{30,}+|\w*+\Z)"),
    ("hub token", r"hub_(?:[\w-]{40,}+|[\w-]{20,}+\Z)"),
    ("JWT", rf"eyJ{_begins('eyJ')}[\w-]{{8,}}+\.(?:eyJ[\w-]*+(?:\.[\w-]*+)*+|\Z)"),
)  # fmt: skip
_PROBE_OF_SHAPES: Final = (
    r"(?-u:-----BEGIN |gh[pousr]_|github_pat_|glpat-|sk[-_]|rk_|xox[a-z]-|AKIA[A-Z0-9]{16}|ASIA[A-Z0-9]{16}"
    r"|AIza|npm_|pypi-|hf_|hub_|eyJ[0-9A-Za-z_-]{8,}\.)"
)
_PROBE_OF_CREDENTIALS: Final = (
    r"(?-u:://[!-.0-9;-?A-~]{1,256}:[!-.0-?A-~]{1,256}@)"
    r"|(?i-u:(?:bearer|basic)[ ]{1,4}[0-9A-Za-z.~+/=_-]{16})"
)
_URL_PASSWORD: Final = r"://(?P<user>[!-.0-9;-?A-~]{1,256}+:)(?!\[redacted: )[!-.0-?A-~]{1,256}+@"
_CREDENTIAL: Final = r"(?P<scheme>[bB](?:earer|asic|EARER|ASIC)[ ]{1,4})[\w.~+/=-]{16,}+"

_WORDS_BETWEEN: Final = r"""([\s"',;]+)"""
_NAME_LENGTH_MAX: Final = 64
_STEP: Final = 1024
"""A long text is looked through in pieces, so that one secret does not make all of it slow."""
_BUDGET: Final = Budget(1 << 30, 1 << 30)
_KNOWN_MAX: Final = 4096
_HOPS_MAX: Final = 8


class Redactor:
    """What `redact` looks for. Compiled when it is first used; for one thread at a time."""

    def __init__(self, names: Iterable[str] = (), patterns: Iterable[str] = ()) -> None:
        """
        Args:
            names: Further names of secrets, in words: `account number` is also `accountNumber`.
            patterns: Further shapes (see `check_pattern`), tried on each word of each text.
        """
        self._names = tuple(names)
        self._patterns = tuple(patterns)
        self._rules: _Rules | None = None
        self._known: dict[int, tuple[Entry, frozenset[str]]] = {}
        self.count = 0
        """How many secrets were found so far."""

    def redact(self, text: str, marked: frozenset[str] = frozenset()) -> str:
        """`text`, which is JSON, with `[redacted: what it was]` in the place of each secret.

        What is no JSON is taken as one piece of plain text. Never raises for its content; redacting
        twice is redacting once. The same object comes back where nothing was found.

        Args:
            marked: Names whose values a schema calls secret.
        """
        rules = self._rules
        if rules is None:
            rules = self._rules = _Rules(self._names, self._patterns)
        if not rules.suspects(text) and not (marked and any(name in text for name in marked)):
            return text
        work = _Work(rules, marked)
        try:
            value = parse(text.encode(), _BUDGET)
        except (Malformed, UnicodeEncodeError):
            plain = work.text(text)
            self.count += work.count
            return plain if work.count else text
        cleared = work.value(value)
        self.count += work.count
        return encode(cleared).decode() if work.count else text

    def marked(self, entry: Entry | None) -> frozenset[str]:
        """The names that an entry's schemas call secret; remembered for as long as the entry lives."""
        if entry is None:
            return frozenset()
        known = self._known.get(id(entry))
        if known is not None and known[0] is entry:
            return known[1]
        found = marked_names(entry.definition.get("inputSchema"))
        found |= marked_names(entry.definition.get("outputSchema"))
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[id(entry)] = (entry, found)
        return found


def check_pattern(pattern: str) -> None:
    """Whether `pattern` can be one of a `Redactor`'s: Rust's regular expressions, which take linear time.

    Raises:
        ValueError: it cannot; with a sentence.
    """
    if "^" in pattern.replace("[^", "") or "$" in pattern.replace(r"\$", ""):
        raise ValueError("is tried on each word: leave ^ and $ out.")
    try:
        empty = _matcher(pattern)("")
    except SchemaError as error:
        reason = str(error).strip().splitlines()[-1].removeprefix("error: ")
        raise ValueError(f"is no regular expression of Rust's kind: {reason}.") from None
    if empty:
        raise ValueError("matches nothing at all, and so everything. Write a longer one.")


def marked_names(schema: Any) -> frozenset[str]:
    """The properties of a JSON Schema, at any depth, with `format: password` or `writeOnly: true`."""
    found: set[str] = set()
    stack = [schema]
    while stack:
        item = stack.pop()
        if isinstance(item, list):
            stack.extend(item)
        elif isinstance(item, dict):
            stack.extend(item.values())
            properties = item.get("properties")
            if isinstance(properties, dict):
                found.update(name for name, each in properties.items() if _is_marked(each, schema, _HOPS_MAX))
    return frozenset(found)


def _is_marked(schema: Any, root: Any, hops: int) -> bool:
    if not isinstance(schema, dict) or hops == 0:
        return False
    if schema.get("format") == "password" or schema.get("writeOnly") is True:
        return True
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target = root
        for part in reference[2:].split("/"):
            target = target.get(part) if isinstance(target, dict) else None
        return _is_marked(target, root, hops - 1)
    either = [each for key in ("anyOf", "oneOf", "allOf") for each in schema.get(key) or () if key in schema]
    return any(_is_marked(each, root, hops - 1) for each in either[:16])


def _matcher(pattern: str) -> Callable[[str], bool]:
    """Whether a text holds a match, in time linear in both."""
    shape = core_schema.str_schema(pattern=pattern, regex_engine="rust-regex")
    matches: Callable[[str], bool] = SchemaValidator(shape).isinstance_python
    return matches


class _Rules:
    """Names and patterns, compiled."""

    def __init__(self, names: tuple[str, ...], patterns: tuple[str, ...]) -> None:
        own = [name.split() for name in names]
        self._own = frozenset("".join(words).lower() for words in own)
        self._endings = tuple(name.replace(" ", "") + plural for name in NAMES for plural in ("", "s"))
        self._words = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
        between = "[ ._-]?"
        spelt = "|".join(name.replace(" ", between) for name in NAMES if name != "token")
        # `max_tokens: 100` is a number of tokens.
        core = f"(?:{spelt})s?|token"
        if own:
            core += "|" + "|".join(between.join(re.escape(word) for word in words) for words in own)
        ending = r"""[\\"']{0,8}[ \t]{0,4}[:=]"""
        named = f"(?i:{core}){ending}" if own else f"(?i-u:{core}){ending}"
        self.named = _matcher(named)
        self.shaped = _matcher(_PROBE_OF_SHAPES)
        self.has_credential = _matcher(_PROBE_OF_CREDENTIALS)
        self._probe = _matcher(f'{named}|(?i-u:"pwd"[ ]?:)|{_PROBE_OF_SHAPES}|{_PROBE_OF_CREDENTIALS}')
        self.patterns = _matcher("|".join(f"(?:{pattern})" for pattern in patterns)) if patterns else None
        self.name = re.compile(f"(?i:(?<!page)(?<!page_)(?<!progress)(?<!next)({core}){ending})")
        self.value = re.compile(
            r"""[ \t]{0,4}(?!\\{0,8}["']?\[redacted: )"""
            r"""(?:(?P<quote>\\{0,8}["'])(?P<quoted>(?:(?!(?<!\\)(?P=quote)).)++)"""
            r"""|(?P<bare>(?:(?i:bearer|basic|token|digest)[ ]{1,4})?[^\s"'\\,;&<>{}\[\]()]++))"""
        )
        # The empty group at the end of each tells which it was.
        self.shapes = re.compile("|".join(f"{pattern}()" for _, pattern in _SHAPES), re.ASCII)
        self.credential = re.compile(f"{_CREDENTIAL}|{_URL_PASSWORD}", re.ASCII)
        self.between = re.compile(_WORDS_BETWEEN)

    def suspects(self, text: str) -> bool:
        if self._probe(text):
            return True
        # Behind an escape (`\nABC`) a pattern's \b would not see where its word begins.
        return self.patterns is not None and ("\\" in text or self.patterns(text))

    def calls_secret(self, key: str) -> bool:
        """Whether what is called so is a secret."""
        low = key.lower()
        plain = re.sub("[^a-z0-9]", "", low)
        if plain.endswith(self._endings) and not plain.endswith(("tokens", *_HARMLESS)):
            return True
        if low == "pwd":
            return True
        words = [word.lower() for word in self._words.findall(key)] if self._own else ()
        return any("".join(words[start:]) in self._own for start in range(len(words)))


class _Work:
    """One text's way through the rules."""

    def __init__(self, rules: _Rules, marked: frozenset[str]) -> None:
        self._rules = rules
        self._marked = marked
        self.count = 0

    def value(self, value: Any) -> Any:
        if type(value) is dict:
            return {self.text(key): self._member(key, item) for key, item in value.items()}
        if type(value) is list:
            return [self.value(item) for item in value]
        return self.text(value) if type(value) is str else value

    def _member(self, key: str, item: Any) -> Any:
        if key in self._marked or self._rules.calls_secret(key):
            return self._all_of(item, key)
        return self.value(item)

    def _all_of(self, value: Any, name: str) -> Any:
        """A value that is secret as a whole; its shape stays."""
        if type(value) is dict:
            return {key: self._all_of(item, name) for key, item in value.items()}
        if type(value) is list:
            return [self._all_of(item, name) for item in value]
        if value is None or type(value) is bool or value == "":
            return value
        if type(value) is str and value.startswith("[redacted: ") and value.endswith("]"):
            return value
        return self._mark(name)

    def text(self, text: str) -> str:
        rules = self._rules
        if self._marked and any(name in text for name in self._marked):
            text = self._named_by_schema(text)
        if not rules.suspects(text):
            return text
        if rules.shaped(text):
            text = rules.shapes.sub(self._shape, text)
        if rules.named(text):
            text = self._named(text)
        if rules.has_credential(text):
            text = rules.credential.sub(self._credential, text)
        if rules.patterns is not None and rules.patterns(text):
            text = self._patterned(text, rules.patterns)
        return text

    def _shape(self, found: re.Match[str]) -> str:
        return self._mark(_SHAPES[(found.lastindex or 1) - 1][0])

    def _credential(self, found: re.Match[str]) -> str:
        if found["scheme"]:
            return found["scheme"] + self._mark("credential")
        return f"://{found['user']}{self._mark('password')}@"

    def _named(self, text: str) -> str:
        """Without what stands behind a name of a secret and a colon or an equals sign."""
        rules, parts, done = self._rules, [], 0
        for start in range(0, len(text), _STEP):
            end = start + _STEP + _NAME_LENGTH_MAX
            if not rules.named(text[start:end]):
                continue
            position = max(start, done)
            while found := rules.name.search(text, position, end):
                position = found.end()
                secret = rules.value.match(text, position)
                if secret is not None:
                    group = "quoted" if secret["quoted"] is not None else "bare"
                    parts += [text[done : secret.start(group)], self._mark(found[1].lower())]
                    position = done = secret.end(group)
        return "".join([*parts, text[done:]]) if parts else text

    def _named_by_schema(self, text: str) -> str:
        """JSON within a text, such as the start of what was cut, without the values of marked names."""
        names = "|".join(re.escape(name) for name in sorted(self._marked))
        parts, done = [], 0
        for found in re.finditer(rf"""\\{{0,8}}["']({names})\\{{0,8}}["'][ \t]{{0,4}}:""", text):
            secret = self._rules.value.match(text, found.end()) if found.start() >= done else None
            if secret is not None:
                group = "quoted" if secret["quoted"] is not None else "bare"
                parts += [text[done : secret.start(group)], self._mark(found[1])]
                done = secret.end(group)
        return "".join([*parts, text[done:]])

    def _patterned(self, text: str, matches: Callable[[str], bool]) -> str:
        words = self._rules.between.split(text)
        hit = [self._mark("pattern") if matches(word) else word for word in words]
        # None of its words alone: the pattern spans several.
        return "".join(hit) if hit != words else self._mark("pattern")

    def _mark(self, what: str) -> str:
        self.count += 1
        return f"[redacted: {what[:_NAME_LENGTH_MAX]}]"
