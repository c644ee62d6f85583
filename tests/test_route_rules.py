"""What does not fit together in what a manifest says of the way of calls: refused with file, line and fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.commands.validate import validate
from hub.home import Home
from hub.manifests import manifest

CONNECT = "connect: {url: https://tea.example.com/mcp}\n"

WRONG = {
    "a-limit-of-zero": (
        "limits: {call: 0s}",
        "tea.yaml:3: limits.call: must be more than zero. Write a duration such as 30s.",
    ),
    "a-tool-s-limit-of-zero": (
        "tools: {override: {pour: {limits: {call: 0s}}}}",
        "tea.yaml:3: tools.override.pour.limits.call: must be more than zero. Write a duration such as 30s.",
    ),
    "a-silence-of-zero": (
        "limits: {silence: 0s}",
        "tea.yaml:3: limits.silence: must be more than zero. Write a duration such as 30s.",
    ),
    "a-silence-that-never-counts": (
        "limits: {call: 10s, silence: 10s}",
        "tea.yaml:3: limits.silence: is not shorter than `call`, so it never counts. "
        "Write less, or remove it.",
    ),
    "a-retry-that-is-not-safe": (
        "tools: {override: {pour: {retry: 3}}}",
        "tea.yaml:3: tools.override.pour.retry: 'pour' is not known to be safe to call twice. Where it "
        "changes nothing (more, the second time), say so beside it: `annotations: {readOnlyHint: true}` or "
        "`{idempotentHint: true}`; else remove this.",
    ),
    "a-retry-of-a-result-that-is-not-safe": (
        "tools: {override: {pour: {output: {type: object}, on_invalid: retry}}}",
        "tea.yaml:3: tools.override.pour.on_invalid: 'pour' is not known to be safe to call twice. Where it "
        "changes nothing (more, the second time), say so beside it: `annotations: {readOnlyHint: true}` or "
        "`{idempotentHint: true}`; else remove this.",
    ),
    "too-many-attempts": (
        "retry: {attempts: 11}",
        "tea.yaml:3: retry.attempts: must be less than or equal to 10.",
    ),
    "what-to-do-with-nothing": (
        "tools: {override: {pour: {on_invalid: error}}}",
        "tea.yaml:3: tools.override.pour.on_invalid: has nothing to go by. Add `output: {…}`, a JSON Schema, "
        "or remove it.",
    ),
    "nothing-to-fall-back-to": (
        "tools: {override: {pour: {output: {type: object}, on_invalid: fallback}}}",
        "tea.yaml:3: tools.override.pour.on_invalid: has nothing to fall back to. "
        "Add `fallback: [other__tool]`.",
    ),
    "a-fallback-that-says-two-things": (
        "tools: {override: {pour: {fallback: [{tool: milk__pour, cached: 10m}]}}}",
        "tea.yaml:3: tools.override.pour.fallback[0]: must say one thing. Write other__tool, {cached: 10m} "
        "or {value: …}.",
    ),
    "a-fallback-to-itself": (
        "tools: {override: {pour: {fallback: [tea__pour]}}}",
        "tea.yaml:3: tools.override.pour.fallback[0]: leads back to where it began: tea__pour -> tea__pour. "
        "Remove one of these fallbacks.",
    ),
    "an-output-that-is-no-schema": (
        "tools: {override: {pour: {output: {typ: object}}}}",
        "tea.yaml:3: tools.override.pour.output: 'typ' is no keyword of a schema. Did you mean 'type'?",
    ),
}


@pytest.mark.parametrize(("lines", "sentence"), WRONG.values(), ids=WRONG.keys())
def test_what_cannot_work_is_refused_with_line_and_fix(lines: str, sentence: str) -> None:
    found = manifest.load_text(Path("tea.yaml"), f"server: tea\n{CONNECT}{lines}\n")
    assert [str(problem) for problem in found.problems] == [sentence]
    assert found.servers == {}


@pytest.mark.parametrize(
    "lines",
    [
        "retry: 3",
        "trust: annotations\ntools: {override: {pour: {retry: 3}}}",
        "tools: {override: {pour: {annotations: {idempotentHint: true}, retry: 3}}}",
        'tools: {override: {"po*": {annotations: {readOnlyHint: true}}, pour: {retry: 3}}}',
        "tools: {override: {pour: {retry: 1}}}",
        "breaker: off",
    ],
)
def test_what_is_safe_or_may_be_is_taken(lines: str) -> None:
    found = manifest.load_text(Path("tea.yaml"), f"server: tea\n{CONNECT}{lines}\n")
    assert [str(problem) for problem in found.problems] == []


def test_what_the_manifest_itself_says_is_not_safe_is_not_made_so_by_trust() -> None:
    lines = "trust: annotations\ntools: {override: {pour: {annotations: {readOnlyHint: false, "
    lines += "idempotentHint: false}, retry: 3}}}"
    found = manifest.load_text(Path("tea.yaml"), f"server: tea\n{CONNECT}{lines}\n")
    assert len(found.problems) == 1


def test_a_fallback_that_leads_back_over_several_files_costs_only_the_file_that_closes_the_loop(
    tmp_path: Path,
) -> None:
    home = Home.at(tmp_path)
    home.manifests.mkdir(parents=True)
    for name, override in {
        "cup": "pour: {fallback: [milk__warm_up]}",
        "milk": "'warm*': {fallback: [{cached: 1m}, tea__brew]}",
        "tea": "pot: {name: brew, fallback: [{value: none}, cup__pour]}",
        "water": "pour: {fallback: [tea__brew, milk__warm]}",
    }.items():
        text = f"server: {name}\n{CONNECT}tools:\n  override:\n    {override}\n"
        (home.manifests / f"{name}.yaml").write_text(text)
    said = validate(home, [])
    assert said["servers"] == ["cup", "milk", "water"]
    assert [problem["text"] for problem in said["problems"]] == [
        f"{home.manifests}/tea.yaml:5: tools.override.pot.fallback[1]: leads back to where it began: "
        "tea__pot -> cup__pour -> milk__warm_up -> tea__brew. Remove one of these fallbacks."
    ]
