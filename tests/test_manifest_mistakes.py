"""What each mistake in a manifest is answered with: file, line, key, what is wrong, the fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub import manifest
from tests.manifests import TEA, problems

BAD: list[tuple[str, str, list[str]]] = [
    # What is wrong, the file, and of each problem: line, key, sentence (`...`: and so on).
    ("unknown key", "server: tea\nconect: {command: [x]}\nconnect: {command: [x]}\n",
     ["2: conect: is not known here. Did you mean 'connect'?"]),
    ("unknown key in a mapping", TEA + "limits:\n  conect: 3s\n",
     ["4: limits.conect: is not known here. Did you mean 'connect'?"]),
    ("unknown key in a connector", "server: tea\nconnect:\n  command: [x]\n  environment: {}\n",
     ["4: connect.environment: is not known here. Known keys: command, env."]),
    ("unknown key in an override",
     TEA + "tools:\n  override:\n    a*:\n      annotations: {readonlyHint: true}\n",
     ["6: tools.override.a*.annotations.readonlyHint: is not known here. Did you mean 'readOnlyHint'?"]),
    ("version that is a number", "server: tea\nconnect:\n  package: {pypi: tea, version: 2.10}\n",
     ['3: connect.package.version: was read as the number 2.1. Write it in quotes: "2.10".']),
    ("version that is an integer", "server: tea\nconnect:\n  package:\n    pypi: tea\n    version: 3\n",
     ['5: connect.package.version: was read as the number 3. Write it in quotes: "3".']),
    ("no version", "server: tea\nconnect:\n  package: {pypi: tea}\n",
     ["3: connect.package.version: is missing. Add 'version: ...'."]),
    ("version left empty", "server: tea\nconnect:\n  package: {pypi: tea, version: }\n",
     ["3: connect.package.version: is empty. Give it a value, or remove it."]),
    ("number for text", "server: tea\nconnect:\n  command: [x, --pin, 1234]\n",
     ["3: connect.command[2]: must be text, and was read as a number. Write it in quotes."]),
    ("text for a list", "server: tea\nconnect:\n  command: tea --hot\n",
     ["3: connect.command: must be a list. Write [first, second]."]),
    ("list for a mapping", "server: tea\nconnect: [tea]\n",
     ["2: connect: must be a mapping. Write exactly one of: cassette, command, package, python, url."]),
    ("word that is none of a few", TEA + "era: modren\n",
     ["3: era: must be auto or modern or legacy. Did you mean 'modern'?"]),
    ("two kinds", "server: tea\nconnect:\n  command: [x]\n  url: https://x/mcp\n",
     ["4: connect.url: is a second way to reach the server: 'command' and 'url' stand ..."]),
    ("no kind", "server: tea\nconnect: {}\n",
     ["2: connect: does not say how to reach the server. Write exactly one of: ..."]),
    ("kind misspelt", "server: tea\nconnect:\n  comand: [x]\n",
     ["3: connect.comand: is not known here. Did you mean 'command'?"]),
    ("no connect", "server: tea\n", ["1: connect: is missing. Add 'connect: ...'."]),
    ("duplicate key", "server: tea\nconnect: {command: [x]}\nera: auto\nera: modern\n",
     ["4: era: stands twice; the first is on line 3. Remove one."]),
    ("bad name", "server: Tea\nconnect: {command: [x]}\n",
     ["1: server: 'Tea' is not a server's name. Write a lower-case letter, then ..."]),
    ("name too long", f"server: {'t' * 25}\nconnect: {{command: [x]}}\n",
     [f"1: server: '{'t' * 25}' is not a server's name. ..."]),
    ("reserved name", "server: hub\nconnect: {command: [x]}\n",
     ["1: server: 'hub' is the name of the hub's own tools. Choose another."]),
    ("no unit", TEA + "limits: {call: 30}\n",
     ["3: limits.call: 30 has no unit. Write it as 30s, 10m or 500ms."]),
    ("wrong unit", TEA + "limits: {call: 30 seconds}\n",
     ["3: limits.call: 'seconds' is not a unit. Write it as 30s, 10m or 500ms."]),
    ("zero", TEA + "limits: {idle: 0s}\n",
     ["3: limits.idle: must be more than zero. Write a duration such as 30s."]),
    ("too long", TEA + "limits: {idle: 9999h}\n", ["3: limits.idle: is longer than a week. ..."]),
    ("infinity", TEA + "limits: {idle: .inf}\n", ["3: limits.idle: must be a duration. ..."]),
    ("yes for a duration", TEA + "limits: {idle: true}\n", ["3: limits.idle: must be a duration. ..."]),
    ("size without unit", TEA + "limits: {message: 64}\n",
     ["3: limits.message: 64 has no unit. Write it as 64KiB or 4MiB."]),
    ("size in decimal units", TEA + "limits: {message: 64MB}\n",
     ["3: limits.message: 'MB' is not a unit. Write it as 64KiB or 4MiB."]),
    ("text for a number", TEA + "limits: {concurrent: many}\n",
     ["3: limits.concurrent: must be a whole number."]),
    ("yes for a number", TEA + "limits: {concurrent: true}\n",
     ["3: limits.concurrent: must be a whole number."]),
    ("out of range", TEA + "limits: {concurrent: 0}\n",
     ["3: limits.concurrent: must be greater than or equal to 1."]),
    ("variable that loads other code", "server: tea\nconnect:\n  command: [x]\n  env: {LD_PRELOAD: x}\n",
     ["4: connect.env: the variable LD_PRELOAD makes a program load other code ..."]),
    ("several at once", "server: Tea\nconnect:\n  command: x\nera: x\n",
     ["1: server: ...", "3: connect.command: ...", "4: era: ..."]),
    ("tab", "server: tea\nconnect:\n\tcommand: [x]\n",
     ["3: is not YAML: found character '\\t' that cannot start any token. Indent with spaces, not tabs."]),
    ("no YAML", "server: tea: pot\n", ["1: is not YAML: mapping values are not allowed here. Look at ..."]),
    ("open bracket", "server: tea\nconnect: {command: [x\n", ["3: is not YAML: expected ..."]),
    ("two documents", TEA + "---\n" + TEA,
     ["3: is not YAML: expected a single document in the stream, but ..."]),
    ("pattern without quotes", "agent: me\nmay: [*]\n", ["2: is not YAML: ..."]),
    ("control character", "server: tea\x07\n",
     ["1: is not YAML: it holds a character that may not be there."]),
    ("tag", "server: !!python/name:os.system tea\n",
     ["1: server: has the tag 'tag:yaml.org,2002:python/name:os.system'. Remove it: ..."]),
    ("own tag", "server: tea\nconnect: !env X\n", ["2: connect: has the tag '!env'. Remove it: ..."]),
    ("key that is a list", "server: tea\n? [a, b]\n: c\n", ["2: has a key that is not text. Write a word."]),
    ("empty", "", ["1: is empty. A manifest begins with 'server: NAME' or 'agent: NAME'."]),
    ("only a comment", "# later\n", ["1: is empty. ..."]),
    ("a list", "- tea\n", ["1: is not a mapping. A manifest begins with 'server: NAME' or 'agent: NAME'."]),
    ("another first key", "sever: tea\nconnect: {command: [x]}\n",
     ["1: sever: does not say what this file is about. Did you mean 'server'?"]),
    ("first key unlike any", "apiVersion: v1\n",
     ["1: apiVersion: does not say what this file is about. A manifest begins with ..."]),
    ("server not first", "title: Tea\nserver: tea\nconnect: {command: [x]}\n",
     ["2: server: must be the first key, before 'title'. Move it to the top."]),
    ("too deep", "server: tea\nconnect: " + "{a: " * 40 + "1" + "}" * 40,
     ["1: holds more than 20000 values or 32 levels. Make it smaller."]),
    ("deep beyond reading", "[" * 20_000, ["1: is nested more than 32 levels deep. Make it flatter."]),
    ("alias of itself", "server: &a [*a]\n", ["1: holds more than 20000 values or 32 levels. ..."]),
    ("aliases of aliases", "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n"
        for old, new in zip("abcdefg", "bcdefgh", strict=True)),
     ["1: holds more than 20000 values or 32 levels. ..."]),
    ("too large", "# " + "x" * 300_000, ["1: is larger than 256 KiB. Split it into several files."]),
    ("agent's name", "agent: Me\nmay: []\n", ["1: agent: 'Me' is not an agent's name. ..."]),
    ("a rule about nothing", "agent: me\nmay:\n  - {}\n",
     ["3: may[0]: does not say what it is about. Add `use`, `server`, `tag` or `readOnly`."]),
    ("use empty", "agent: me\nmay:\n  - use: []\n", ["3: may[0].use: names nothing. Write a ..."]),
    ("empty pattern", "agent: me\nmay:\n  - use: ['']\n",
     ["3: may[0].use[0]: must have 1 to 1024 characters. '*' stands for everything."]),
    ("one pattern for a list", "agent: me\nmay: '*'\n", ["2: may: must be a list. Write [first, second]."]),
    ("allow for may", "agent: me\nallow: ['*']\n", ["2: allow: is not known here. ..."]),
    *[(f"with: {schema}", f"agent: me\nmay:\n  - use: '*'\n    with: {{path: {schema}}}\n",
       [f"4: may[0].with.path: {said}"])
      for schema, said in (
          ("main", "must be a JSON Schema. ..."),
          ("{}", "checks nothing. ..."),
          ("{patern: a}", "'patern' is no keyword of a schema. Did you mean 'pattern'?"),
          ("{pattern: '(?=a)b'}", 'pattern: "(?=a)b" cannot be used. Patterns have no look-around ...'),
          ("{pattern: '(a)\\1'}", 'pattern: "(a)\\\\1" cannot be used. ...'),
          ("{pattern: '(?i)a'}", "pattern: '(?' is not known to everybody. Write it without."),
          ("{type: text}", "is no valid JSON Schema: ..."),
          ("{$ref: 'http://x/y'}", "'$ref' is not used here. Write out what it refers to."),
          ("{not: {format: path}}", "not: format path cannot stand there. ..."),
          ("{format: filename}", "format 'filename' is not known. ..."),
      )],
    *[(f"when: {when}", f"agent: me\nmay:\n  - use: '*'\n    when: {when}\n", [f"4: may[0].when{said}"])
      for when, said in (
          ("{}", ": does not say when. Add `days`, `hours` or `labels`."),
          ("{days: someday}", ".days: 'someday' is no day. ..."),
          ("{hours: 9-17}", ".hours: must be a time from and a time until. ..."),
          ("{hours: '09:00-09:00'}", ".hours: must not be empty. ..."),
          ("{days: mon, zone: Mars}", ".zone: 'Mars' is no time zone here. ..."),
      )],
    ("ask whom", "agent: me\nmay:\n  - use: '*'\n    ask: robot\n", ["4: may[0].ask: must be human."]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_mistake_is_answered_with_file_line_key_and_the_fix(
    text: str, expected: list[str], tmp_path: Path
) -> None:
    found = problems(tmp_path, text)
    assert len(found) == len(expected), found
    for said, words in zip(found, expected, strict=True):
        pattern = f"tea.yaml:{words}"
        if pattern.endswith("..."):
            assert said.startswith(pattern.removesuffix("..."))
        else:
            assert said == pattern
    loaded = manifest.load(tmp_path)
    assert (loaded.servers, loaded.agents) == ({}, {})


def test_bytes_that_are_no_text_are_said_with_their_line(tmp_path: Path) -> None:
    assert problems(tmp_path, TEA.encode() + b"title: \xff\n") == [
        "tea.yaml:3: is not UTF-8 text. Save it as UTF-8."
    ]


def test_no_value_that_may_be_secret_is_repeated(tmp_path: Path) -> None:
    text = (
        "server: tea\nconnect:\n  url: 8472\n  headers: {Authorization: 84727, X: [84728]}\n  token: 84729\n"
    )
    found = problems(tmp_path, text)
    assert len(found) == 4
    assert "8472" not in "".join(found)
