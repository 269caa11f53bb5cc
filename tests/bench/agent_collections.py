"""Public collections of User-Agent headers against our rules: who is called a machine, who is not.

    pip install --target SOMEWHERE --no-deps crawler-user-agents fake-useragent
    pip download --no-deps --no-binary :all: --dest SOMEWHERE device-detector
    tar -C SOMEWHERE -xzf SOMEWHERE/device_detector-*.tar.gz
    .venv/bin/python tests/bench/agent_collections.py SOMEWHERE [-v]

No part of `make bench`: it measures the rules, not the machine. A rule that is "possible" decides
nothing alone and is not counted. What is wrong here belongs into tests/corpus/agents.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from sendback.agents import load_rules

RULES = load_rules()
#: Fixtures of device-detector with headers that people's browsers send.
PEOPLE = ("smartphone", "tablet", "phablet", "feature_phone", "desktop", "tv")


def collections(folder: Path) -> Iterator[tuple[str, bool, str]]:
    """(collection, is a machine's, header)."""
    for path in folder.rglob("crawleruseragents/crawler-user-agents.json"):
        for entry in json.loads(path.read_text()):
            for header in entry.get("instances", ()):
                yield "crawler-user-agents", True, header
    for path in folder.rglob("fake_useragent/data/browsers.jsonl"):
        for line in path.read_text().splitlines():
            yield "fake-useragent", False, json.loads(line)["useragent"]
    for path in sorted(folder.rglob("tests/fixtures/upstream/*.yml")):
        name = re.sub(r"(-\d+)?$", "", path.stem)
        if name == "bots" or name in PEOPLE:
            for found in re.finditer(
                r"^\s*(?:- )?user_agent: *(.+)$", path.read_text(), re.MULTILINE
            ):
                yield f"device-detector, {name}", name == "bots", found[1].strip("'\" ")


def main() -> None:
    """One line a collection, and with -v each header that it got wrong."""
    counts: dict[str, int] = defaultdict(int)
    wrong: dict[str, list[str]] = defaultdict(list)
    for name, is_machine, header in collections(Path(sys.argv[1])):
        rule = RULES.agent(header, "click")
        is_called = (
            rule is not None and rule.agent_class != "human" and rule.certainty != "possible"
        )
        counts[name] += 1
        if is_called != is_machine:
            wrong[name].append(f"{rule.name if rule else '-'}: {header}")
    for name, count in counts.items():
        print(f"{name:32}{count:8,} headers{len(wrong[name]):7,} not as it says")
        for line in wrong[name] if "-v" in sys.argv else ():
            print("    ", line[:180])


if __name__ == "__main__":
    main()
