"""`hub policy`: are the rules what their author means, and what would others make of what happened?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli.options import HomeOption, JsonOption, OfAgentOption, home_at
from hub.cli.output import note, print_json, print_names, print_text
from hub.counted import counted

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Rules: looked over, tried on what happened, learnt from it.")

Since = Annotated[str | None, typer.Option("--since", metavar="7d", help="Only calls not older than this.")]


@app.command()
def lint(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", help="Files or folders. Left out: all of the hub's manifests."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find rules that do nothing, or more than they look like. Exit code 1 on an error or a warning."""
    from hub.review.lint import lint as look_over

    found = look_over(home_at(home), [path.absolute() for path in paths or []])
    if as_json:
        print_json(found)
    else:
        print_names([finding["text"] for finding in found["findings"]])
        if found["trouble"]:
            note(found["trouble"])
        if found["never_asked"]:
            names = ", ".join(found["never_asked"])
            note(f"Not asked yet what they offer, so judged by patterns alone: {names}.")
        counts = ", ".join(counted(found[severity], severity) for severity in ("error", "warning", "note"))
        note(f"{counted(len(found['agents']), 'agent')} looked over: {counts}.")
    if found["error"] or found["warning"]:
        raise typer.Exit(1)


@app.command()
def test(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="NEW", help="Files or folders. Left out: the manifests as they stand."),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    since: Since = None,
    agent: OfAgentOption = None,
) -> None:
    """Decide every recorded call anew with other manifests. Exit code 1 if one would be decided otherwise."""
    from hub.env import SystemEnv
    from hub.review.changes import changes

    new = [path.absolute() for path in paths or []]
    found = changes(home_at(home), new, now=SystemEnv().now(), since=since, agent=agent)
    if as_json:
        print_json(found)
    else:
        print_names([_line(change) for change in found["changes"]])
        for text in _counted(found):
            note(text)
    if found["changes"]:
        raise typer.Exit(1)


@app.command()
def learn(
    agent: Annotated[str, typer.Argument(metavar="AGENT")],
    home: HomeOption = None,
    as_json: JsonOption = False,
    since: Since = None,
) -> None:
    """Print the narrowest manifest that still allows what an agent really did."""
    from hub.env import SystemEnv
    from hub.review.learn import learn as learn_of

    learnt = learn_of(home_at(home), agent, now=SystemEnv().now(), since=since)
    if as_json:
        print_json({"agent": agent, "calls": learnt.calls, "manifest": learnt.text, "notes": learnt.notes})
        return
    print_text(learnt.text.removesuffix("\n"))
    if not learnt.calls:
        note(f"Agent {agent!r} has used nothing that is recorded, so nothing is allowed.")
    for text in learnt.notes:
        note(text)


def _line(change: dict[str, Any]) -> str:
    calls = f"{counted(change['calls'], 'call')}, such as {change['example']}"
    turn = f"{change['was']} -> {change['would_be']}"
    return f"{change['agent']} {change['tool']}: {turn}: {calls}: {change['why']}"


def _counted(found: dict[str, Any]) -> list[str]:
    """How much was decided, and how much not."""
    changed = sum(change["calls"] for change in found["changes"])
    said = [
        f"{counted(found['decided'], 'call')} decided anew: {changed or 'none'} would be decided otherwise."
    ]
    if found["without"]:
        said.append(
            f"{found['without']} of these without some of their arguments, which no rule for them looks at."
        )
    for why, count in found["undecided"].items():
        said.append(f"{count} not decided: {why}.")
    already = [change for change in found["changes"] if change["is_now"] == change["would_be"]]
    if already and found["manifests"]:
        count = sum(change["calls"] for change in already)
        said.append(f"{count} of those would be decided so by the manifests as they stand, too.")
    return said
