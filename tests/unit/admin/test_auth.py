"""Logging in, staying in, and who is kept out (facts/reliability.md W15, 7 D)."""

import io
import re
import time

import pytest

from sendback.admin.auth import COOKIE, node_secret
from sendback.database import accounts
from sendback.database.statistics import Statistics
from sendback.database.totp import totp
from sendback.errors import Malformed, NotFound

PASSWORD = "correct horse battery"
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.fixture
def ann(node):
    node.accounts.add_user("ann", PASSWORD, "admin", actor="t")
    return node


def log_in(node, client, name="ann", password=PASSWORD, code="", **headers):
    form = {"name": name, "password": password, "code": code}
    return client.post("/login", data=form, headers=headers)


def test_a_session_reads_and_with_its_token_changes(ann):
    client = ann.app.test_client()
    answer = log_in(ann, client)
    cookie = answer.headers["Set-Cookie"]
    assert answer.status_code == 303
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie

    me = client.get("/api/v1/me").json
    body = {"domain": "a.example"}
    assert client.post("/api/v1/url-domains", json=body).status_code == 403
    token = {"X-CSRF-Token": me["csrf_token"]}
    assert client.post("/api/v1/url-domains", json=body, headers=token).status_code == 201
    assert me["name"] == "user:ann"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_can_not_use_the_session(ann, headers):  # D8
    client = ann.app.test_client()
    log_in(ann, client)
    token = client.get("/api/v1/me").json["csrf_token"]
    sent = {"X-CSRF-Token": token, **headers}

    posted = client.post("/api/v1/url-domains", json={"domain": "a.example"}, headers=sent)
    assert posted.status_code == 403
    assert log_in(ann, ann.app.test_client(), **headers).status_code == 403


def test_logging_out_ends_it_for_a_copied_cookie_too(ann):  # D9
    client, thief = ann.app.test_client(), ann.app.test_client()
    log_in(ann, client)
    thief.set_cookie(COOKIE, client.get_cookie(COOKIE).value)
    assert thief.get("/api/v1/me").status_code == 200
    token = client.get("/api/v1/me").json["csrf_token"]

    assert client.post("/logout", data={"csrf_token": token}).status_code == 303
    assert thief.get("/api/v1/me").status_code == 401


def test_every_login_is_a_new_session_and_none_can_be_planted(ann):  # D9
    client = ann.app.test_client()
    client.set_cookie(COOKIE, "planted")
    log_in(ann, client)
    first = client.get_cookie(COOKIE).value
    log_in(ann, client)

    assert "planted" != first != client.get_cookie(COOKIE).value


def test_a_changed_cookie_is_none(ann):  # D10
    client = ann.app.test_client()
    log_in(ann, client)
    good = client.get_cookie(COOKIE).value
    for at in range(0, len(good) - 1, 7):
        other = "A" if good[at] != "A" else "B"
        client.set_cookie(COOKIE, good[:at] + other + good[at + 1 :])
        assert client.get("/api/v1/me").status_code == 401


def test_idle_and_absolute_expiry(ann):
    client = ann.app.test_client()
    log_in(ann, client)
    for _ in range(20):
        ann.clock.now += 29 * 60
        assert client.get("/api/v1/me").status_code == 200
    ann.clock.now += 31 * 60
    assert client.get("/api/v1/me").status_code == 401
    log_in(ann, client)
    for _ in range(25):
        ann.clock.now += 29 * 60
        last = client.get("/api/v1/me").status_code
    assert last == 401


def test_a_new_password_or_role_ends_sessions(ann):
    client = ann.app.test_client()
    for change in (
        lambda: ann.accounts.set_password("ann", PASSWORD, actor="t"),
        lambda: ann.accounts.set_role("ann", "read", actor="t"),
        lambda: ann.accounts.remove_user("ann", actor="t"),
    ):
        log_in(ann, client)
        assert client.get("/api/v1/me").status_code == 200
        change()
        assert client.get("/api/v1/me").status_code == 401


def test_five_wrong_logins_are_enough(ann):  # D6
    client = ann.app.test_client()
    codes = [log_in(ann, client, password="wrong").status_code for _ in range(6)]
    assert codes == [403] * 5 + [429]
    assert log_in(ann, client).status_code == 429
    ann.clock.now += 901
    assert log_in(ann, client).status_code == 303


@pytest.mark.usefixtures("real_hashes")
def test_an_unknown_user_takes_as_long_as_a_known_one(ann):  # D7
    def cost(name):
        began = time.process_time()
        ann.accounts.login(name, "wrong password")
        return time.process_time() - began

    cost("nobody")
    known = sorted(cost("ann") for _ in range(9))[4]
    unknown = sorted(cost("nobody") for _ in range(9))[4]
    assert 0.5 < unknown / known < 2


def test_the_second_factor(ann):
    client = ann.app.test_client()
    log_in(ann, client)
    headers = {"X-CSRF-Token": client.get("/api/v1/me").json["csrf_token"]}
    offered = client.post("/api/v1/me/totp", headers=headers).json
    assert offered["uri"].startswith("otpauth://totp/sendback:ann?secret=")
    secret = offered["secret"]
    wrong = client.put(
        "/api/v1/me/totp", json={"secret": secret, "code": "000000"}, headers=headers
    )
    now = totp(secret, int(ann.clock() // 30))
    right = client.put("/api/v1/me/totp", json={"secret": secret, "code": now}, headers=headers)
    assert (wrong.status_code, right.status_code) == (422, 200)

    assert log_in(ann, client).status_code == 403
    assert log_in(ann, client, code="\u0661" * 6).status_code == 403
    assert log_in(ann, client, code=now).status_code == 303
    assert log_in(ann, client, code=now).status_code == 403  # no code works twice
    ann.clock.now += 30
    assert log_in(ann, client, code=totp(secret, int(ann.clock() // 30))).status_code == 303


def test_codes_are_those_of_the_rfc():
    # RFC 6238 appendix B, SHA-1, last six digits
    times = {59: "287082", 1111111109: "081804", 2000000000: "279037", 20000000000: "353130"}

    assert {at: totp(SECRET, at // 30) for at in times} == times


def test_the_first_administrator_is_invited_once(node):
    first = node.accounts.first_invitation()
    second = node.accounts.first_invitation()
    client = node.app.test_client()
    form = {"invitation": first, "name": "ann", "password": PASSWORD}
    assert client.get(f"/welcome?invitation={first}").status_code == 404
    assert client.post("/welcome", data=form).status_code == 422
    form["invitation"] = second
    assert client.get(f"/welcome?invitation={second}").status_code == 200
    assert client.post("/welcome", data={**form, "password": "short"}).status_code == 422
    assert client.post("/welcome", data=form).status_code == 303
    assert client.get("/api/v1/me").json["allowed"] == ["admin", "messages", "operate", "read"]
    assert client.post("/welcome", data={**form, "name": "eve"}).status_code == 422
    assert node.accounts.first_invitation() is None


def test_an_invitation_is_valid_for_a_day(node):
    secret = node.accounts.invite("read")
    node.clock.now += 86_401

    with pytest.raises(NotFound):
        node.accounts.accept(secret, "ann", PASSWORD)


@pytest.mark.usefixtures("real_hashes")
def test_passwords_are_argon2id_of_19_mib(ann):  # W15
    with ann.database.read() as connection:
        stored = connection.exec_driver_sql("SELECT password_hash FROM users").scalar()

    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    for wrong in ("", "short", "x" * 1001):
        with pytest.raises(Malformed):
            ann.accounts.add_user("bob", wrong, "read", actor="t")
    assert accounts.IDLE_MS < accounts.ABSOLUTE_MS


def test_pages_are_for_whom_they_are_for(ann):
    @ann.app.get("/secret")
    @ann.access.page("operate")
    def secret():
        return "ok"

    client = ann.app.test_client()
    assert client.get("/secret").headers["Location"] == "/login"
    log_in(ann, client)
    assert client.get("/secret").text == "ok"
    ann.accounts.add_user("bob", PASSWORD, "read", actor="t")
    log_in(ann, client, name="bob")
    assert client.get("/secret").status_code == 403


def test_the_nodes_secret_is_made_once_and_kept_private(tmp_path):
    path = tmp_path / "session-secret"
    first = node_secret(path)

    assert node_secret(path) == first
    assert len(first) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"")
    assert len(node_secret(path)) == 32


def test_the_status_page_is_for_those_who_may_read(ann):
    client = ann.app.test_client()
    asked = client.get("/")
    assert (asked.status_code, asked.headers["Location"]) == (302, "/login")
    for open_to_machines in ("/healthz", "/readyz", "/metrics"):
        assert client.get(open_to_machines).status_code == 200
    assert client.get("/ask?domain=file.example").status_code == 200

    counted = Statistics(ann.database, "me")
    counted.consume(ann.events.read(0, 10))
    log_in(ann, client)
    page = client.get("/")
    assert re.search(r"<td>s1</td><td>news</td>\s*<td class=\"number\">1</td>", page.text)
    assert "Everything runs." in page.text
    assert "<span>ann</span>" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
    assert not re.search(r"<script|<style|style=|\son\w+=", page.text)
    token = re.search(r'name="csrf_token" value="(\w+)"', page.text)[1]
    assert client.post("/logout", data={"csrf_token": "x" * 64}).status_code == 403
    assert client.post("/logout", data={"csrf_token": token}).headers["Location"] == "/login"
    assert client.get("/").status_code == 302


def test_the_login_page_says_how_the_first_administrator_begins(node):
    client = node.app.test_client()
    assert "one-time link" in client.get("/login").text
    node.accounts.add_user("ann", PASSWORD, "read", actor="t")
    assert "one-time link" not in client.get("/login").text


def test_pages_survive_a_database_that_is_down(ann, tmp_path):
    client = ann.app.test_client()
    log_in(ann, client)
    ann.database.close()
    (tmp_path / "sendback.sqlite").unlink()
    (tmp_path / "sendback.sqlite").mkdir()

    for path in ("/", "/login", "/welcome?invitation=x"):
        answer = client.get(path)
        assert answer.status_code == 503, path
        assert "main database" in answer.text
    assert client.get("/healthz").status_code == 200


def test_a_login_is_a_form_and_nothing_else(ann):
    """A body of another kind read as an empty form: a wrong password that nobody gave."""
    client = ann.app.test_client()
    for path in ("/login", "/welcome"):
        for _ in range(6):
            answer = client.post(path, json={"name": "ann", "password": PASSWORD})
            assert answer.status_code == 415
        assert client.post(path).status_code == 415
    assert log_in(ann, client).status_code == 303, "none of them counted as a failure"


@pytest.mark.parametrize(
    ("path", "content_type", "limit"),
    [
        ("/login", "application/x-www-form-urlencoded", 64 * 1024),
        ("/api/v1/url-domains", "application/json", 1 << 20),
    ],
)
def test_a_body_of_unsaid_length_is_whole_or_refused(ann, path, content_type, limit):  # D16
    """Found as a flaky test: Werkzeug cuts a chunked body at the limit and reads on."""
    client = ann.app.test_client()
    log_in(ann, client)
    token = client.get("/api/v1/me").json["csrf_token"]

    def send(size: int) -> int:
        answer = client.post(
            path,
            content_type=content_type,
            headers={"Transfer-Encoding": "chunked", "X-CSRF-Token": token},
            input_stream=io.BytesIO(b'{"domain":"a.example"}'.ljust(size)),
            environ_overrides={"wsgi.input_terminated": True, "CONTENT_LENGTH": ""},
        )
        return answer.status_code

    assert send(limit + 1) == 413
    assert send(limit * 3) == 413
    assert send(limit - 1) in (201, 403), "read whole: a URL domain, and a wrong password"
    assert send(limit) in (409, 403)
