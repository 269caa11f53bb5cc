"""Verdicts: real user agents of people and machines, and how they behave (R1-R10)."""

import time
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sendback.agents import Observation, OtherVisit, classify, load_rules
from sendback.errors import Malformed
from sendback.model import Hint, VisitKind

CORPUS = tomllib.loads(
    (Path(__file__).parents[2] / "corpus/agents/user_agents.toml").read_text("utf-8")
)
RULES = load_rules()
TAGGED = 1_790_000_000
BROWSER = CORPUS["person"][0]["header"]
HOME = "198.51.100.7"
GATEWAY = "209.222.82.5"
DEFENDER = "40.94.20.1"


def visit(kind=VisitKind.CLICK, user_agent=BROWSER, after=3_600.0, **known):
    known = {"ip": HOME, "tagged_at": TAGGED, "pos": 1} | known
    return Observation(
        kind=kind, user_agent=user_agent, time_ms=int((TAGGED + after) * 1000), **known
    )


def judge(*args, rules=RULES, **known):
    return classify(visit(*args, **known), rules)


def followed(*links, after=3_600.0, ip=HOME):
    """Other clicks: (seconds after the one that is judged, position)."""
    return [
        OtherVisit(int((TAGGED + after + seconds) * 1000), VisitKind.CLICK, pos, ip)
        for seconds, pos in links
    ]


@pytest.mark.parametrize("case", CORPUS["person"], ids=lambda case: case["header"][:60])
def test_people_are_people(case):  # R8
    weak = (f"user_agent:{case['weak']}",) if "weak" in case else ()
    for kind in (VisitKind.CLICK, VisitKind.OPEN, VisitKind.UNSUB):
        verdict = judge(kind, case["header"])
        reasons = () if kind is VisitKind.OPEN else weak
        assert (verdict.agent_class, verdict.reasons) == ("human", reasons)
        assert not verdict.is_bot


@pytest.mark.parametrize("case", CORPUS["app"], ids=lambda case: case["header"][:60])
def test_an_app_may_fetch_its_own_links_and_pictures(case):  # S4.23
    assert judge(hints=Hint.UNIVERSAL, user_agent=case["header"]).agent_class == "human"
    assert judge(VisitKind.OPEN, case["header"]).agent_class == "human"
    assert judge(user_agent=case["header"]).agent_class == case["click"]


def test_a_machine_that_follows_a_universal_link_is_one():
    for header in ("curl/8.4.0", "Mozilla/5.0 (compatible; Barracuda Sentinel (EE))", ""):
        assert judge(hints=Hint.UNIVERSAL, user_agent=header).agent_class == "scanner"
    assert judge(hints=Hint.UNIVERSAL, ip=GATEWAY).agent_class == "scanner"


@pytest.mark.parametrize("case", CORPUS["proxy"], ids=lambda case: case["header"][:60])
def test_pictures_fetched_by_mail_services(case):  # R10
    verdict = judge(VisitKind.OPEN, case["header"])
    assert verdict.agent_class == case["open"]
    assert verdict.is_bot == (case["open"] == "prefetch")
    assert verdict.is_privacy_open == case.get("privacy", False)
    assert (verdict.certainty, verdict.final) == ("certain", True)
    if "click" in case:
        click = judge(VisitKind.CLICK, case["header"])
        assert (click.agent_class, click.is_privacy_open) == (case["click"], False)


@pytest.mark.parametrize("case", CORPUS["machine"], ids=lambda case: case["header"][:60])
def test_machines_are_machines(case):  # R2, R8
    for kind in (VisitKind.CLICK, VisitKind.UNSUB):
        verdict = judge(kind, case["header"])
        assert verdict.agent_class == case.get("click", "scanner")
        assert verdict.is_bot
        assert verdict.reasons[0].startswith("user_agent:")
    assert judge(VisitKind.OPEN, case["header"]).is_bot == ("open" not in case)


def test_what_people_send_too_counts_only_beside_another_sign():  # R1
    old = next(case["header"] for case in CORPUS["person"] if case.get("weak") == "old_chrome")
    assert judge(user_agent=old).reasons == ("user_agent:old_chrome",)
    assert not judge(user_agent=old).is_bot
    assert judge(user_agent=old, after=4.0).reasons == ("user_agent:old_chrome", "soon")
    assert judge(user_agent=old, after=4.0).is_bot
    assert judge(user_agent=old, ip=DEFENDER).is_bot
    assert judge(user_agent=old, others=followed((1.0, 2))).is_bot
    assert not judge(user_agent=old, others=followed((4.0, 2))).is_bot


def test_a_prefetch_that_says_so():  # W8
    verdict = judge(hints=Hint.PREFETCH)
    assert (verdict.agent_class, verdict.reasons) == ("prefetch", ("prefetch_header",))
    assert verdict.final


def test_nobody_sees_the_honeypot():  # R5
    verdict = judge(honeypot=True)
    assert (verdict.agent_class, verdict.reasons, verdict.certainty) == (
        "scanner",
        ("honeypot",),
        "certain",
    )
    trap = OtherVisit(visit().time_ms + 900, VisitKind.CLICK, 9, HOME, honeypot=True)
    assert judge(others=[trap]).agent_class == "scanner"
    elsewhere = OtherVisit(trap.time_ms, VisitKind.CLICK, 9, "192.0.2.9", honeypot=True)
    assert judge(others=[elsewhere]).agent_class == "human", "the reader behind the gateway"


@pytest.mark.parametrize(
    ("ip", "kind", "agent_class", "certainty"),
    [
        (GATEWAY, VisitKind.CLICK, "scanner", "certain"),
        (GATEWAY, VisitKind.OPEN, "scanner", "certain"),
        ("40.107.7.7", VisitKind.CLICK, "scanner", "certain"),
        ("40.107.7.7", VisitKind.OPEN, "human", "probable"),
        ("2a01:111:f403::1", VisitKind.CLICK, "scanner", "certain"),
        (DEFENDER, VisitKind.CLICK, "human", "probable"),
        ("66.249.84.213", VisitKind.OPEN, "proxy", "certain"),
        (HOME, VisitKind.CLICK, "human", "probable"),
        ("", VisitKind.CLICK, "human", "probable"),
        ("unix:", VisitKind.CLICK, "human", "probable"),
        ("2001:db8::1", VisitKind.CLICK, "human", "probable"),
        # iCloud Private Relay, WARP and Google's VPN carry people (egress-ip-ranges.csv of Apple)
        ("104.28.33.5", VisitKind.CLICK, "human", "probable"),
        ("172.225.12.34", VisitKind.CLICK, "human", "probable"),
        ("146.75.164.1", VisitKind.CLICK, "human", "probable"),
        ("2a09:bac2:5d3a::1", VisitKind.CLICK, "human", "probable"),
        ("2a02:26f7:c9c8::1", VisitKind.OPEN, "human", "probable"),
        ("66.249.84.213", VisitKind.CLICK, "human", "probable"),
    ],
)
def test_networks_by_scope_and_certainty(ip, kind, agent_class, certainty):  # R3
    verdict = judge(kind, ip=ip)
    assert (verdict.agent_class, verdict.certainty) == (agent_class, certainty)


def test_two_weak_signs_are_enough_and_one_is_not():  # R1
    assert judge(ip=DEFENDER).reasons == ("network:microsoft_defender",)
    assert judge(after=4.0).reasons == ("soon",)
    assert not judge(ip=DEFENDER).is_bot
    assert not judge(after=4.0).is_bot
    both = judge(ip=DEFENDER, after=4.0)
    assert (both.agent_class, both.reasons) == ("scanner", ("network:microsoft_defender", "soon"))
    assert both.certainty == "probable"
    assert judge(after=11.0).reasons == ()


def test_several_links_within_seconds():
    assert not judge(others=followed((1.0, 2))).is_bot, "two links, as people do"
    assert judge(others=followed((1.0, 2), (-2.0, 3))).reasons == ("burst",)
    assert not judge(others=followed((6.0, 2), (-6.0, 3))).is_bot
    assert not judge(others=followed((4.0, 2), (-4.0, 3))).is_bot, "eight seconds, as people do"
    assert judge(others=followed((-4.5, 2), (-2.0, 3))).reasons == ("burst",)
    assert not judge(others=followed((1.0, 1), (2.0, 1), (3.0, 1))).is_bot, "one link, often"
    quick = judge(after=3.0, others=followed((1.0, 2), after=3.0))
    assert (quick.agent_class, quick.reasons) == ("scanner", ("soon", "two_links"))
    opens = [OtherVisit(visit().time_ms, VisitKind.OPEN)] * 5
    assert not judge(others=opens).is_bot


def test_unsubscribing_on_purpose_makes_no_burst():
    """Found by a node's test: a click, the one-click button and the page, all within a second."""
    at = visit().time_ms
    on_purpose = [
        OtherVisit(at + 100, VisitKind.UNSUB, 0, HOME, hints=Hint.ONE_CLICK),
        OtherVisit(at + 200, VisitKind.UNSUB, 3, HOME, hints=Hint.CONFIRMED),
        OtherVisit(at + 300, VisitKind.UNSUB, 0, HOME, hints=Hint.MAILTO),
    ]
    assert judge(others=on_purpose).reasons == ()
    followed_too = [OtherVisit(at + 100, VisitKind.UNSUB, 3, HOME), *followed((1.0, 2))]
    assert judge(others=followed_too).reasons == ("burst",)


def test_every_link_of_a_message():
    others = followed((20.0, 2), (-20.0, 3), (10.0, 4), (-10.0, 5))
    assert judge(others=others, links_in_message=5).reasons == ("every_link",)
    assert not judge(others=others, links_in_message=6).is_bot
    slow = followed((40.0, 2), (-40.0, 3), (10.0, 4), (-10.0, 5))
    assert not judge(others=slow, links_in_message=5).is_bot, "80 seconds"
    assert not judge(others=others[:3], links_in_message=4).is_bot, "a short message"


def test_every_link_from_the_first_on_where_nobody_knows_how_many_there_are():
    """Slower than a burst, none left out: a machine, whatever the storage."""
    walk = [(4.0 * (pos - 1), pos) for pos in range(1, 6)]
    for own, pos in walk:
        others = followed(*[(at - own, n) for at, n in walk if n != pos])
        assert judge(pos=pos, others=others).reasons == ("from_the_first",)
    assert not judge(others=followed((4, 2), (8, 3), (12, 4))).is_bot, "four"
    assert not judge(others=followed((4, 2), (8, 3), (12, 5), (16, 6))).is_bot, "one left out"
    assert not judge(pos=2, others=followed((4, 3), (8, 4), (12, 5), (16, 6))).is_bot, "no first"
    beside = followed(*((at + 3.0, pos) for at, pos in walk))
    assert not judge(pos=9, others=beside).is_bot, "not one of them"
    assert not judge(others=followed((9, 2), (18, 3), (27, 4), (36, 5))).is_bot, "a reader"


def test_an_unsubscribe_that_a_person_asked_for():  # R14, R15
    for hint in (Hint.ONE_CLICK, Hint.MAILTO):
        for agent in ("", "Go-http-client/1.1", "Apache-HttpClient/4.5.1", BROWSER):
            verdict = judge(VisitKind.UNSUB, agent, after=1.0, ip=GATEWAY, hints=hint)
            assert (verdict.agent_class, verdict.final) == ("human", True)
    pressed = judge(
        VisitKind.UNSUB,
        hints=Hint.CONFIRMED,
        after=2.0,
        ip=DEFENDER,
        others=followed((1.0, 2), (2.0, 3), after=2.0),
    )
    assert (pressed.agent_class, pressed.reasons[0]) == ("human", "confirmed")
    assert judge(VisitKind.UNSUB, "curl/8.4.0", hints=Hint.CONFIRMED).is_bot


def test_a_label_is_final_when_no_later_click_can_change_it():
    click = visit()
    assert not classify(click, RULES).final
    later = visit(complete_until_ms=click.time_ms + 5_000)
    assert not classify(later, RULES).final, "links from the first on take 20 seconds"
    assert classify(visit(complete_until_ms=click.time_ms + 20_000), RULES).final
    assert classify(visit(complete_until_ms=click.time_ms + 5_000, links_in_message=2), RULES).final
    whole = visit(complete_until_ms=click.time_ms + 20_000, links_in_message=8)
    assert not classify(whole, RULES).final, "the window for every link is longer"
    assert judge(VisitKind.OPEN).final
    assert judge(user_agent="curl/8").final
    assert judge(others=followed((1.0, 2), (-2.0, 3))).final


def test_an_operators_rules_come_first():  # R3
    rules = load_rules(
        """
        [[network]]
        name = "our_gateway"
        class = "scanner"
        certainty = "certain"
        networks = ["198.51.100.0/24"]
        [[network]]
        name = "isolation"
        class = "human"
        certainty = "certain"
        networks = ["209.222.82.0/24", "2001:db8:7::/48"]
        """,
        """
        [[agent]]
        name = "house_monitor"
        class = "scanner"
        contains = ["HouseMonitor"]
        [[agent]]
        name = "our_app"
        class = "human"
        regex = '^okhttp/4'
        """,
        burst_links=2,
        soon_s=60,
    )
    assert judge(rules=rules).reasons == ("network:our_gateway",)
    assert judge(rules=rules, ip=GATEWAY, after=1.0).agent_class == "human"
    assert judge(rules=rules, ip="2001:db8:7::1").certainty == "certain"
    assert judge(VisitKind.CLICK, "x HouseMonitor/1", rules=rules, ip="192.0.2.1").is_bot
    assert not judge(VisitKind.CLICK, "okhttp/4.9", rules=rules, ip="192.0.2.1").is_bot
    assert judge(VisitKind.CLICK, "curl/8", rules=rules, ip="192.0.2.1").is_bot
    two = judge(rules=rules, ip="192.0.2.1", others=followed((1.0, 2)))
    assert two.reasons == ("burst",)
    assert judge(rules=rules, ip="192.0.2.1", after=50.0).reasons == ("soon",)


@pytest.mark.parametrize(
    ("networks", "agents", "named"),
    [
        ("[[network]\n", None, "networks.toml"),
        ('[[network]]\nname = "x"\nclass = "human"\nnetworks = ["10.0.0.1/8"]', None, "x: "),
        ('[[network]]\nname = "x"\nclass = "robot"\nnetworks = []', None, "x: "),
        ('[[networks]]\nname = "x"', None, "networks"),
        (None, '[[agent]]\nname = "x"\nclass = "human"\nregex = "("', "user_agents.toml: x: "),
        (None, '[[agent]]\nname = "x"\nclass = "human"\ncontain = ["a"]', "contain"),
        (None, '[[agent]]\nclass = "human"', "an entry"),
    ],
)
def test_a_broken_rule_is_named(networks, agents, named):
    with pytest.raises(Malformed, match=named.replace(".", r"\.")):
        load_rules(networks, agents)


@given(
    st.builds(
        Observation,
        kind=st.sampled_from(list(VisitKind)),
        ip=st.text(max_size=50) | st.ip_addresses().map(str),
        user_agent=st.text(max_size=512),
        hints=st.integers(0, 31),
        time_ms=st.integers(0, 2**45),
        tagged_at=st.integers(0, 2**33),
        pos=st.integers(0, 99),
        honeypot=st.booleans(),
        others=st.lists(
            st.builds(
                OtherVisit,
                time_ms=st.integers(0, 2**45),
                kind=st.sampled_from(list(VisitKind)),
                pos=st.integers(0, 9),
                ip=st.text(max_size=9),
                honeypot=st.booleans(),
            ),
            max_size=5,
        ),
        links_in_message=st.none() | st.integers(0, 9),
    )
)
@settings(max_examples=200)
def test_any_observation_gets_one_verdict_and_always_the_same(observation):
    verdict = classify(observation, RULES)

    assert verdict == classify(observation, RULES)
    assert verdict.agent_class in ("human", "proxy", "prefetch", "scanner")
    assert verdict.is_bot == (verdict.agent_class in ("prefetch", "scanner"))
    assert verdict.reasons or verdict.agent_class == "human"
    assert not verdict.is_privacy_open or observation.kind == VisitKind.OPEN


def test_no_header_takes_long():
    hostile = [
        "a" * 512,
        "(" * 512,
        "bot" * 170,
        "Mozilla/5.0 (" + "windows nt; " * 40,
        "+http" * 100,
    ]
    started = time.process_time()
    for text in hostile:
        for _ in range(20):
            RULES.agent.cache_clear()
            judge(user_agent=text)
    assert (time.process_time() - started) / (20 * len(hostile)) < 0.005
