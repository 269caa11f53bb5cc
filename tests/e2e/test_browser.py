"""What a recipient sees in a real browser: links lead on, leaving a list works by thumb."""

import email
import json
import re
import shutil

import pytest

from e2e.test_first_light import SAMPLE, copies, html_of, send
from fixtures.node import running_node

pytestmark = pytest.mark.browser

CONFIRMING = {
    "SENDBACK_MAIL_CLASS": json.dumps(
        [
            {
                "name": "news",
                "default": True,
                "track_clicks": True,
                "track_opens": True,
                "unsubscribe_links": True,
                "unsubscribe_mode": "confirm",
            }
        ]
    )
}


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    program = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    )
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-quic", "--disable-background-networking"],
        )
        yield running
        running.close()


@pytest.fixture
def phone(browser):
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, locale="de-DE", has_touch=True, is_mobile=True
    )
    yield context.new_page()
    context.close()


def test_leaving_a_list_by_thumb(tmp_path, phone):
    with running_node(tmp_path / "data", env=CONFIRMING) as node:
        send(node, SAMPLE.read_bytes(), ["ada@example.org"])
        (copy,) = copies(node).values()
        header = email.message_from_bytes(copy)["List-Unsubscribe"].strip("<>")

        phone.goto(header)
        assert phone.evaluate("document.documentElement.lang") == "de"
        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
        button = phone.get_by_role("button")
        box = button.bounding_box()
        assert box["height"] >= 40  # a thumb hits it
        phone.screenshot(path=str(tmp_path / "unsubscribe.png"))
        assert node.events() == []  # looking changed nothing
        with phone.expect_navigation():
            button.tap()
        assert phone.get_by_role("button").count() == 0
        phone.screenshot(path=str(tmp_path / "thanks.png"))

        (event,) = node.wait_events(1)
        assert event["event_type"] == "engine_unsub"
        assert event["click_url"] == ""
        assert "Chrome" in event["user_agent"]


def test_a_followed_link_arrives_without_referrer_or_cookie(tmp_path, phone):
    with running_node(tmp_path / "data") as node:
        target = f"{node.admin}/healthz"
        message = SAMPLE.read_bytes().replace(b"https://lighthouse.example/lamp", target.encode())
        send(node, message, ["ada@example.org"])
        (copy,) = copies(node).values()
        link = re.search(r"http://localhost:\d+/click\?[\w-]+", html_of(copy))[0]

        answer = phone.goto(link)

        assert phone.url == target
        assert answer.request.redirected_from.url == link
        assert "referer" not in answer.request.headers
        assert phone.context.cookies() == []
        assert [e["event_type"] for e in node.wait_events(1)] == ["engine_click"]


def test_the_status_page_fits_a_phone(tmp_path, phone):
    with running_node(tmp_path / "data") as node:
        problems = []
        phone.on("console", lambda message: problems.append(message.text))
        phone.goto(node.admin + "/")
        phone.screenshot(path=str(tmp_path / "status.png"))

        assert phone.evaluate("document.documentElement.scrollWidth") <= 390
        assert "Everything runs." in phone.inner_text("header")
        assert problems == []
