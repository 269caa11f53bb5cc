"""An operator's rules are obeyed without a restart, and a broken file changes nothing."""

import pytest

from sendback.bootstrap.agent_rules import AgentRules

OURS = '[[network]]\nname = "ours"\nclass = "scanner"\nnetworks = ["192.0.2.0/24"]\n'


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def made(tmp_path):
    said: list[str] = []
    clock = Clock()

    def name() -> str | None:
        clock.now += 1
        rule = rules.current().network("192.0.2.7", "click")
        return rule.name if rule else None

    rules = AgentRules(tmp_path, said.append, clock=clock)
    return tmp_path / "networks.toml", name, said


def test_rules_are_read_again_when_a_file_comes_changes_and_goes(made):
    path, name, said = made
    assert name() is None
    path.write_text(OURS)
    assert name() == "ours"
    path.write_text(OURS.replace('"ours"', '"renamed"'))
    assert name() == "renamed"
    path.unlink()
    assert name() is None
    assert len(said) == 3
    name()
    assert len(said) == 3, "once for each change"


@pytest.mark.parametrize("text", ["[[network]]\nname = 1", "[[", "\udcff"])
def test_a_broken_file_leaves_the_rules_as_they_were(made, text):
    path, name, said = made
    path.write_text(OURS)
    assert name() == "ours"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert name() == "ours"
    assert said[-1].startswith("ERROR ")
    count = len(said)
    assert (name(), len(said)) == ("ours", count)
    path.write_text(OURS.replace('"ours"', '"mended"'))
    assert name() == "mended"


def test_a_file_that_is_broken_at_the_start_leaves_ours(tmp_path):
    (tmp_path / "user_agents.toml").write_text("nonsense")
    said: list[str] = []
    rules = AgentRules(tmp_path, said.append).current()
    assert rules.agent("curl/8", "click").name == "http_library"
    assert len(said) == 1
