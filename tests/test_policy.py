"""The one decision, against an oracle that shares no code with it."""

from __future__ import annotations

import random
import re
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from hub.policy import Decision, Grants, Rule, bare, decide, matches
from hub.templates import stems_from

CASES = 25_000


def oracle_matches(pattern: str, text: str) -> bool:
    """The definition, word by word: `*` is nothing, or one character and then `*` again."""

    @cache
    def fits(p: int, t: int) -> bool:
        if p == len(pattern):
            return t == len(text)
        if pattern[p] == "*":
            return fits(p + 1, t) or (t < len(text) and fits(p, t + 1))
        return t < len(text) and pattern[p] in ("?", text[t]) and fits(p + 1, t + 1)

    return fits(0, 0)


def regex_matches(pattern: str, text: str) -> bool:
    parts = {"*": ".*", "?": "."}
    return re.fullmatch("".join(parts.get(c) or re.escape(c) for c in pattern), text, re.DOTALL) is not None


def oracle_allows(may: list[tuple[str, ...]], never: list[tuple[str, ...]], target: str) -> bool:
    granted = {pattern for rule in may for pattern in rule if regex_matches(pattern, target)}
    denied = {pattern for rule in never for pattern in rule if regex_matches(pattern, target)}
    return len(granted) > 0 and len(denied) == 0


def grants(may: list[tuple[str, ...]], never: list[tuple[str, ...]]) -> Grants:
    return Grants(
        "manifests/agent.yaml",
        tuple(Rule(f"may[{i}]", use, i + 2) for i, use in enumerate(may)),
        tuple(Rule(f"never[{i}]", use, i + 90) for i, use in enumerate(never)),
    )


def test_decisions_agree_with_the_oracle_on_many_rules_and_targets() -> None:
    """Ours: allowed if any `may` matches and no `never` does, and the rule named is one that matched."""
    draw = random.Random(20260728)
    plain = ["git", "time", "__", "_", "log", "reset", "é", "G", "://", "."]
    pieces = [*plain, *"*******?"]

    def rules(most: int) -> list[tuple[str, ...]]:
        return [
            tuple("".join(draw.choices(pieces, k=draw.randint(0, 4))) for _ in range(draw.randint(0, 2)))
            for _ in range(draw.randint(0, most))
        ]

    outcomes: dict[bool, int] = {True: 0, False: 0}
    overruled = 0
    for _ in range(CASES):
        may, never = rules(4), rules(2)
        target = "".join(draw.choices(plain, k=draw.randint(1, 4)))
        decision = decide(grants(may, never), bare(target))
        expected = oracle_allows(may, never, target)
        assert decision.allowed is expected, (may, never, target)
        if decision.rule is None:
            assert not oracle_allows([*may, *never], [], target)
        else:
            assert decision.pattern in decision.rule.use
            assert oracle_matches(str(decision.pattern), target)
            assert decision.rule.id.startswith("may" if expected else "never")
        outcomes[expected] += 1
        overruled += not expected and oracle_allows(may, [], target)
    # The cases must be worth something: both answers, and denials that beat a grant, many times.
    assert min(outcomes.values()) > CASES / 10
    assert overruled > CASES / 50


short_text = st.text("ab*?_\n\U0001f642", max_size=12)


@given(short_text, short_text)
def test_a_pattern_matches_exactly_what_its_definition_says(pattern: str, text: str) -> None:
    expected = oracle_matches(pattern, text)
    assert regex_matches(pattern, text) is expected, "the two oracles disagree"
    assert matches(pattern, text) is expected


@given(st.lists(st.tuples(short_text), max_size=4), short_text, short_text)
def test_a_deny_wins_over_any_number_of_grants(may: list[tuple[str]], pattern: str, target: str) -> None:
    everything: list[tuple[str, ...]] = [*may, ("*",), (target,)]
    decision = decide(grants(everything, [(pattern,)]), bare(target))
    assert decision.allowed is not oracle_matches(pattern, target)


@given(st.lists(st.tuples(short_text), max_size=4), short_text)
def test_nothing_is_allowed_that_no_rule_allows(never: list[tuple[str, ...]], target: str) -> None:
    assert decide(grants([], never), bare(target)).allowed is False
    assert decide(Grants("manifests/empty.yaml"), bare(target)) == Decision(False, None, None)


def test_a_decision_names_the_first_rule_that_made_it() -> None:
    rules = grants([("time__*",), ("git__*", "git__git_log")], [("git__git_reset",)])
    assert decide(rules, bare("git__git_log")) == Decision(True, rules.may[1], "git__*")
    assert decide(rules, bare("git__git_reset")) == Decision(False, rules.never[0], "git__git_reset")
    assert decide(rules, bare("files__read")) == Decision(False, None, None)


class CountedText(str):
    """A text that counts how often one of its characters is looked at."""

    looked = 0

    def __getitem__(self, key: object) -> str:
        type(self).looked += 1
        return super().__getitem__(key)  # type: ignore[index]


def test_no_pattern_is_slow() -> None:
    """Ours: steps stay within pattern x text, also where backtracking would need 10,000 to the 50th."""
    text = "a" * 10_000
    for pattern in ("*a" * 50 + "b", "a*" * 50 + "b", "*" * 50 + "b", "*" + "a" * 50 + "b", "*?" * 50 + "b"):
        CountedText.looked = 0
        assert matches(pattern, CountedText(text)) is False
        assert CountedText.looked <= len(pattern) * len(text)
    assert matches("*a" * 50, text) is True


def test_a_uri_stems_from_a_template_by_its_literal_parts_alone() -> None:
    assert stems_from("file:///{+path}", "file:///a/b?c")
    assert stems_from("db://{table}/rows/{id}", "db://users/rows/7")
    assert not stems_from("db://{table}/rows/{id}", "db://users/columns/7")
    assert stems_from("db://{table}/schema", "db://users/schema")
    assert not stems_from("db://{table}/schema", "db://users/schema/more")
    assert stems_from("plain://x", "plain://x") and not stems_from("plain://x", "plain://xy")
    # Literal characters are themselves, also those that rules give a meaning to.
    assert not stems_from("q://x?y={z}", "q://x/y=1")
    assert not stems_from("q://*/{z}", "q://other/1")
    # A literal part is never used twice.
    assert not stems_from("aa{x}aa", "aaa")


@given(st.lists(st.text("ab/", max_size=4), min_size=1, max_size=5), st.text("ab/", max_size=20))
def test_templates_agree_with_a_regular_expression(literals: list[str], uri: str) -> None:
    expression = ".*".join(re.escape(literal) for literal in literals)
    assert stems_from("{x}".join(literals), uri) is (re.fullmatch(expression, uri) is not None)
