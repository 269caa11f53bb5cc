"""docs/reference/bounces.md and the code say the same."""

from pathlib import Path

from sendback.reports import codes, rules

PAGE = (Path(__file__).parents[3] / "docs/reference/bounces.md").read_text("utf-8")


def test_every_reason_stands_on_the_page_with_its_number():
    for name, reason in codes.REASONS.items():
        flags = " | ".join("yes" if flag else "no" for flag in (reason.hard, reason.bad))
        row = f"| {reason.code} | `{name}` | {reason.type} | {flags} | {reason.meaning} |"
        assert row in PAGE


def test_every_code_and_provider_stands_on_the_page():
    for code, reason in {**codes.DECIDING, **codes.DEFAULTS}.items():
        assert f"x.{code} {codes.DECIDING.get(code, reason)}" in PAGE
    for name, hosts, _ in rules.load(rules.packaged()).providers:
        assert f"| {name} | {', '.join(hosts)} |" in PAGE
