"""What a recipient sees in a real browser: links lead on, leaving a list works by thumb."""

import email
import json
import re
import shutil

import pytest

from e2e.test_first_light import SAMPLE, copies, html_of, send
from fixtures.node import running_node
from sendback.web.pages import Pages

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


def test_no_page_needs_scrolling_sideways_on_the_smallest_screen(browser):
    """WCAG 2.2, 1.4.10: 320 pixels wide, and at twice the size of letters."""
    pages = Pages()
    context = browser.new_context(viewport={"width": 320, "height": 480}, java_script_enabled=True)
    page = context.new_page()
    for language in pages.languages:
        asked = {"HTTP_ACCEPT_LANGUAGE": language}
        for made in (pages.confirm, pages.done, pages.not_found, pages.unavailable):
            page.set_content(made(asked).body.decode())
            for size in ("100%", "200%"):
                page.evaluate(f"document.documentElement.style.fontSize = '{size}'")
                width = page.evaluate("document.documentElement.scrollWidth")
                assert width <= 320, (language, made.__name__, size)
            assert page.get_by_role("main").get_by_role("heading", level=1).count() == 1
    context.close()


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


@pytest.mark.parametrize("width", [390, 1200])
def test_the_first_administrator_begins_looks_and_leaves(tmp_path, browser, width):
    with running_node(tmp_path / "data") as node:
        [link] = set(re.findall(r"http://[^\s\"]+/welcome\?invitation=[\w-]+", node.log()))
        context = browser.new_context(viewport={"width": width, "height": 844})
        page = context.new_page()
        problems = []
        page.on("console", lambda message: problems.append(message.text))

        def fits(name):
            page.screenshot(path=str(tmp_path / f"{name}.png"), full_page=True)
            return page.evaluate("document.documentElement.scrollWidth") <= width

        page.goto(node.admin + "/")
        assert page.url == node.admin + "/login"
        assert "one-time link" in page.inner_text("main")
        assert fits("first")
        page.goto(link)
        assert fits("welcome")
        page.get_by_label("name").fill("ann")
        page.get_by_label("password").fill("correct horse battery")
        page.get_by_role("button").click()

        assert page.url == node.admin + "/"
        assert "Everything runs." in page.inner_text("header")
        assert page.inner_text(".visitor span") == "ann"
        assert fits("status")
        page.get_by_role("button", name="Log out").click()
        assert page.url == node.admin + "/login"
        assert fits("login")
        assert context.cookies() == []
        page.goto(node.admin + "/")
        assert page.url == node.admin + "/login"

        page.get_by_label("Name").fill("ann")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("button").click()
        page.get_by_role("link", name="REST API").click()
        assert "REST API, version 1" in page.inner_text("h1")
        assert fits("api")
        assert problems == []
        context.close()
