"""The REST API: what operators rely on, and the bad input of facts/reliability.md section 7 D."""

import base64
import json

import pytest

from sendback.database import audit
from sendback.database.kinds import KINDS

BODIES = {
    "url_domain": ({"domain": "a.example", "tls": True}, {"tls": False}),
    "mail_class": ({"name": "news", "track_clicks": True}, {"privacy": "anonymous"}),
    "bounce_mailbox": ({"address": "b@a.example"}, {}),
    "complaint_mailbox": ({"address": "f@a.example"}, {}),
    "database_connection": ({"name": "m", "database": "d", "password": "p4ss"}, {"port": 7}),
    "destination": (
        {"name": "h", "type": "webhook", "url": "https://x.example/", "secret": "s3c"},
        {"events": ["scomp"], "headers": {"A": "b"}},
    ),
    "peer": ({"name": "p", "admin_url": "https://p.example", "api_key": "k3y"}, {}),
}
MESSAGE = base64.b64encode(b"From: a@a.example\r\n\r\nHi\r\n").decode()


class TestCatalog:
    @pytest.mark.parametrize("name", KINDS)
    def test_the_whole_life_of_an_object(self, node, name):
        kind = KINDS[name]
        path = f"/{kind.plural_slug}"
        body, change = BODIES[name]
        status, made, headers = node.call("POST", path, body)
        assert status == 201
        one = headers["Location"].removeprefix("/api/v1")
        etag = headers["ETag"]
        assert not {"p4ss", "s3c", "k3y"} & set(map(str, made.values()))
        assert node.call("GET", one)[1] == made
        assert made in node.call("GET", path)[1]["items"]
        assert node.call("POST", path, body)[0] == 409

        status, changed, headers = node.call("PATCH", one, change, If_Match=etag)
        assert status == 200
        assert headers["ETag"] != etag
        assert node.call("PATCH", one, change, If_Match=etag)[0] == 412
        assert node.call("DELETE", one, If_Match=etag)[0] == 412
        whole = {key: changed[key] for key in changed if key not in ("origin", "version")}
        status, replaced, headers = node.call("PUT", one, whole, If_Match=headers["ETag"])
        assert (status, {**replaced, "version": 0}) == (200, {**changed, "version": 0})
        assert node.call("DELETE", one, If_Match=headers["ETag"])[0] == 204
        assert node.call("GET", one)[0] == 404

    def test_a_masked_secret_is_not_stored(self, node):
        kind = KINDS["database_connection"]
        node.call("POST", "/database-connections", BODIES["database_connection"][0])
        shown = node.call("GET", "/database-connections/m")[1]
        whole = {key: shown[key] for key in kind.fields}
        node.call("PUT", "/database-connections/m", whole)

        assert node.store.get(kind, "m").item.password == "p4ss"

    def test_the_files_objects_are_read_only(self, node):
        assert node.call("GET", "/url-domains/file.example")[1]["origin"] == "file"
        assert node.call("PATCH", "/url-domains/file.example", {"tls": True})[0] == 409
        assert node.call("PUT", "/url-domains/file.example", {"domain": "file.example"})[0] == 409
        assert node.call("DELETE", "/url-domains/file.example")[0] == 409

    def test_documents_are_text_or_objects_serialised_once(self, node):  # S4.24
        text = '{ "a" :\r\n 1 }'
        body = {
            "domain": "a.example",
            "apple_app_site_association": text,
            "android_asset_links": [{"relation": ["\u00e9"]}],
        }
        made = node.call("POST", "/url-domains", body)[1]

        assert made["apple_app_site_association"] == text
        assert json.loads(made["android_asset_links"]) == [{"relation": ["\u00e9"]}]

    def test_wrong_fields_are_named(self, node):
        for body, field in [
            ({}, "domain"),
            ({"domain": "a b"}, "domain"),
            ({"domain": "a.example", "tls": "yes"}, "tls"),
            ({"domain": "a.example", "tls": 1}, "tls"),
            ({"domain": "a.example", "tls": None}, "tls"),
            ({"domain": "a.example", "colour": 1}, "colour"),
            ({"domain": "a.example", "android_asset_links": "{"}, "android_asset_links"),
        ]:
            status, found, headers = node.call("POST", "/url-domains", body)
            assert (status, found["errors"][0]["field"]) == (422, field), body
            assert headers["Content-Type"] == "application/problem+json"
        status, found, _ = node.call("POST", "/mail-classes", {"name": "x", "url_domain": "no.x"})
        assert status == 422

    def test_lists_come_in_pages(self, node):
        for i in range(25):
            node.call("POST", "/bounce-mailboxes", {"address": f"b{i}@x.example"})
        found, cursor = [], ""
        while cursor is not None:
            more = f"&cursor={cursor}" if cursor else ""
            page = node.call("GET", f"/bounce-mailboxes?limit=10{more}")[1]
            found += [item["address"] for item in page["items"]]
            cursor = page["next"]

        assert len(found) == len(set(found)) == 25
        for query in ("limit=0", "limit=9999", "limit=x", "x=1"):
            assert node.call("GET", f"/bounce-mailboxes?{query}")[0] == 422, query
        for query in ("cursor=%20", "cursor=e30", "cursor=x"):
            assert node.call("GET", f"/bounce-mailboxes?{query}")[0] == 404, query

    def test_every_change_says_who(self, node):
        node.call("POST", "/url-domains", {"domain": "a.example"})
        key_id = node.keys["admin"].split("_")[1]

        assert audit.entries(node.database)[0].actor == f"key:{key_id}"
        page = node.call("GET", "/audit?limit=1")[1]
        assert page["items"][0]["name"] == "a.example"
        assert node.call("GET", f"/audit?cursor={page['next']}")[0] == 200

    def test_a_destination_of_the_api_reaches_neither_files_nor_private_networks(self, node):
        hook = {"name": "h", "type": "webhook", "url": "http://10.0.0.1/"}
        free = {"allow_private_networks": True}
        assert node.call("POST", "/destinations", {**hook, **free})[0] == 422
        assert node.call("POST", "/destinations", hook)[0] == 201
        assert node.call("PATCH", "/destinations/h", free)[0] == 422
        assert node.call("PUT", "/destinations/h", {**hook, **free})[0] == 422
        node.store.change(KINDS["destination"], "h", free, actor="the command line")
        assert node.call("PATCH", "/destinations/h", {"gzip": True})[0] == 200
        # what the command line allowed is allowed there and nowhere else
        elsewhere = {"url": "http://169.254.169.254/"}
        assert node.call("PATCH", "/destinations/h", elsewhere)[0] == 422
        assert node.call("PATCH", "/destinations/h", {"type": "jetstream"})[0] == 422
        off = {**elsewhere, "allow_private_networks": False}
        assert node.call("PATCH", "/destinations/h", off)[0] == 200
        file = {"name": "f", "type": "ndjson", "url": "/etc/passwd"}
        status, found, _ = node.call("POST", "/destinations", file)
        assert (status, found["errors"][0]["field"]) == (422, "url")
        assert node.call("POST", "/destinations", {**file, "url": "events.ndjson"})[0] == 201
        assert node.call("PATCH", "/destinations/f", {"url": "../x"})[0] == 422


class TestKeys:
    def test_no_wrong_revoked_or_expired_key(self, node):  # D1, D2, D4
        assert node.call("GET", "/me", scope=None)[0] == 401
        text, key = node.accounts.create_key("x", ["read"], actor="t")
        for wrong in ("", "x", "sb_", text[:-1], text[:-1] + "-", text.replace("sb_", "sc_")):
            status, _, headers = node.call(
                "GET", "/me", scope=None, Authorization=f"Bearer {wrong}"
            )
            assert status == 401
            assert headers["WWW-Authenticate"].startswith("Bearer")
        node.accounts.revoke_key(key.id, actor="t")
        assert node.call("GET", "/me", scope=None, Authorization=f"Bearer {text}")[0] == 401
        expires = int(node.clock() * 1000) + 1000
        text, _ = node.accounts.create_key("x", ["read"], actor="t", expires_ms=expires)
        assert node.call("GET", "/me", scope=None, Authorization=f"Bearer {text}")[0] == 200
        node.clock.now += 10
        assert node.call("GET", "/me", scope=None, Authorization=f"Bearer {text}")[0] == 401

    def test_a_key_in_the_url_is_refused(self, node):  # D5
        key = node.keys["admin"]
        for name in ("key", "api_key", "access_token"):
            assert node.call("GET", f"/me?{name}={key}", scope=None)[0] == 401

    @pytest.mark.parametrize(
        ("scope", "path", "method", "body"),
        [
            ("read", "/url-domains", "POST", {"domain": "a.example"}),
            ("operate", "/url-domains", "POST", {"domain": "a.example"}),
            ("read", "/suppressions", "POST", {"entries": [{"email": "a@a.example"}]}),
            ("messages", "/events", "GET", None),
            ("messages", "/me", "GET", None),
            ("operate", "/users", "GET", None),
            ("operate", "/audit", "GET", None),
            ("read", "/messages", "POST", {"message_b64": MESSAGE, "rcpts": ["a@a.example"]}),
        ],
    )
    def test_a_scope_that_does_not_reach(self, node, scope, path, method, body):  # D3
        assert node.call(method, path, body, scope=scope)[0] == 403

    def test_only_hashes_are_stored(self, node):
        with node.database.read() as connection:
            dump = str(connection.exec_driver_sql("SELECT * FROM api_keys").all())

        # a secret may hold "_" itself: what is behind the last one could be nothing
        assert not any(key.split("_", 2)[2] in dump for key in node.keys.values())

    def test_too_many_wrong_keys_from_one_address(self, node):  # D6
        for _ in range(30):
            node.call("GET", "/me", scope=None, Authorization="Bearer wrong")
        status, _, headers = node.call("GET", "/me", scope=None, Authorization="Bearer wrong")

        assert status == 429
        assert int(headers["Retry-After"]) > 0
        node.clock.now += 61
        assert node.call("GET", "/me")[0] == 200

    def test_every_endpoint_is_guarded(self, node):
        document = node.call("GET", "/openapi.json", scope=None)[1]
        open_ones = []
        for path, operations in document["paths"].items():
            for method in operations:
                concrete = path.replace("{name}", "x").replace("{sendid}", "x")
                status = node.call(method.upper(), concrete.replace("{email}", "x@x"), scope=None)[
                    0
                ]
                if status != 401:
                    open_ones.append((method, path, status))

        assert open_ones == []
        assert len(document["paths"]) > 30


class TestBodies:
    @pytest.mark.parametrize(
        ("data", "status"),
        [
            (b"", 400),
            (b"{", 400),
            (b"[]", 422),
            (b"null", 422),
            (b"1", 422),
            (b'"{}"', 422),
            (b"{}", 422),
            (b"[" * 100_000, 400),
            (b'{"a":' * 100_000, 400),
            (b'{"domain": NaN}', 400),
            (b'{"domain": 1e999}', 400),
            (b'{"domain": 9223372036854775808}', 422),
            (b'{"domain": ' + b"9" * 400 + b"}", 422),
            (b'{"domain": "\xff"}', 400),
            (b'{"domain": "\\ud800"}', 400),
            (b'{"domain": "a\\u0000.example"}', 422),
        ],
    )
    def test_odd_json(self, node, data, status):  # D11 - D14, D19
        found = self.post(node, data)

        assert found.status_code == status
        assert found.content_type == "application/problem+json"
        assert "Traceback" not in found.text

    def post(self, node, data, content_type="application/json", **headers):
        sent = {"Authorization": f"Bearer {node.keys['admin']}", **headers}
        return node.app.test_client().post(
            "/api/v1/url-domains", data=data, content_type=content_type, headers=sent
        )

    def test_too_large(self, node):  # D15
        assert self.post(node, b" " * (1 << 20) + b"{}").status_code == 413

    def test_wrong_types_and_encodings(self, node):  # D17, D18
        good = b'{"domain": "a.example"}'
        assert self.post(node, good, "text/plain").status_code == 415
        assert self.post(node, good, "application/x-www-form-urlencoded").status_code == 415
        gzipped = {"Content-Encoding": "gzip"}
        assert self.post(node, b"\x1f\x8b", **gzipped).status_code == 415
        assert self.post(node, good, "application/json; charset=utf-8").status_code == 201

    @pytest.mark.parametrize(
        "path",
        [
            "/url-domains/%00",
            "/url-domains/' OR 1=1 --",
            "/url-domains/%ff",
            "/url-domains/" + "a" * 3000,
            "/statistics/sends?search=%00",
            "/statistics/sends?search=%25' OR 1=1",
            "/statistics/sends?cursor=WzEsMiwzXQ",
            "/suppressions?domain=';drop table users",
            "/audit?name='",
        ],
    )
    def test_odd_urls(self, node, path):  # D19, D20
        assert node.call("GET", path)[0] in {200, 400, 404, 422}

    def test_what_is_not_there(self, node):
        for method, path, status in [
            ("GET", "/nothing", 404),
            ("POST", "/me", 405),
        ]:
            found, document, headers = node.call(method, path)
            assert (found, document["status"]) == (status, status)
            assert headers["Content-Type"] == "application/problem+json"

    def test_our_own_faults_say_nothing(self, node, caplog):
        node.deliveries.statuses = lambda: 1 / 0
        status, document, _ = node.call("GET", "/deliveries")

        assert status == 500
        assert "division" not in json.dumps(document)
        assert "division" in caplog.text

    def test_a_database_that_is_down_is_503(self, node):
        with node.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE stats_sends RENAME TO gone")

        status, _, headers = node.call("GET", "/statistics/sends")
        assert (status, headers["Retry-After"]) == (503, "5")


class TestMessages:
    def test_rewriting(self, node):
        body = {"message_b64": MESSAGE, "rcpt": "a@a.example"}
        status, found, _ = node.call("POST", "/messages/rewrite", body, scope="messages")

        assert (status, base64.b64decode(found["message_b64"])) == (200, b"tagged")
        assert found["skipped"] is None

    def test_each_recipient_has_an_answer(self, node):
        rcpts = ["a@a.example", "no@a.example", "down@a.example", "a@a.example"]
        body = {"message_b64": MESSAGE, "rcpts": rcpts, "mail_from": "s@a.example"}
        status, found, _ = node.call("POST", "/messages", body, scope="messages")

        assert status == 200
        assert [(one["status"], one["code"]) for one in found["recipients"]] == [
            ("accepted", 250),
            ("refused", 550),
            ("deferred", 451),
        ]

    def test_an_idempotency_key_submits_once(self, node):
        body = {"message_b64": MESSAGE, "rcpts": ["a@a.example"]}
        first = node.call("POST", "/messages", body, Idempotency_Key="k1")
        again = node.call("POST", "/messages", body, Idempotency_Key="k1")
        other = node.call("POST", "/messages", {**body, "mail_from": "x@x"}, Idempotency_Key="k1")
        stranger = node.call("POST", "/messages", body, scope="operate", Idempotency_Key="k1")

        assert first[:2] == again[:2]
        assert again[2]["Idempotent-Replay"] == "true"
        assert other[0] == 422
        assert stranger[0] == 200
        assert len(node.submitted) == 2

    def test_a_failed_request_may_be_repeated(self, node):
        bad = {"message_b64": MESSAGE, "rcpts": ["a@a.example"], "mail_class": "nothing"}
        assert node.call("POST", "/messages", bad, Idempotency_Key="k")[0] == 422
        good = {"message_b64": MESSAGE, "rcpts": ["a@a.example"], "mail_class": "default"}
        assert node.call("POST", "/messages", good, Idempotency_Key="k")[0] == 200
        assert node.submitted[0][0].startswith(b"X-GreenArrow-MailClass: default\r\nFrom:")

    @pytest.mark.parametrize(
        "change",
        [
            {"message_b64": "%%"},
            {"message_b64": ""},
            {"rcpts": []},
            {"rcpts": ["a@a.example\r\nRCPT TO:<b@b.example>"]},
            {"rcpts": ["<a@a.example>"]},
            {"rcpts": ["nobody"]},
            {"mail_from": "a b@c"},
            {"mail_class": "x\r\ny"},
        ],
    )
    def test_what_is_refused(self, node, change):
        body = {"message_b64": MESSAGE, "rcpts": ["a@a.example"], **change}

        assert node.call("POST", "/messages", body)[0] == 422
        assert node.submitted == []

    def test_a_large_message_passes(self, node):
        raw = base64.b64encode(b"x" * (2 << 20)).decode()
        body = {"message_b64": raw}

        assert node.call("POST", "/bounces/parse", body)[1]["size"] == 2 << 20

    def test_links_are_decoded(self, node):
        assert node.call("POST", "/links/decode", {"url": "https://x"})[1] == {"url": "https://x"}


class TestEvents:
    def test_pages_and_filters(self, node):
        first = node.call("GET", "/events?limit=3")[1]
        rest = node.call("GET", f"/events?limit=3&cursor={first['next']}")[1]

        assert [event["seq"] for event in first["items"] + rest["items"]] == [1, 2, 3, 4]
        assert rest["next"] is None
        clicks = node.call("GET", "/events?type=engine_click&type=scomp")[1]["items"]
        assert [event["event_type"] for event in clicks] == ["engine_click"]
        assert len(node.call("GET", "/events?email=ANN@a.example&after=1")[1]["items"]) == 2
        assert node.call("GET", "/events?type=nothing")[0] == 422

    def test_the_stream_is_one_event_a_line(self, node):
        status, body, headers = node.call("GET", "/events/stream")

        assert (status, headers["Content-Type"]) == (200, "application/x-ndjson")
        assert [json.loads(line)["seq"] for line in body.splitlines()] == [1, 2, 3, 4]

    def test_followers_get_what_is_new_and_leave(self, node):
        client = node.app.test_client()
        headers = {"Authorization": f"Bearer {node.keys['read']}", "Last-Event-ID": "3"}
        for _ in range(20):  # more than may follow at once
            answer = client.get("/api/v1/events/follow", headers=headers, buffered=False)
            stream = iter(answer.response)
            assert next(stream) == b": following\n\n"
            event = next(stream)
            answer.close()

        assert event.startswith(b"id: 4\nevent: engine_click\ndata: {")

    def test_too_many_followers(self, node):
        client = node.app.test_client()
        headers = {"Authorization": f"Bearer {node.keys['read']}"}
        answers = [
            client.get("/api/v1/events/follow?after=0", headers=headers, buffered=False)
            for _ in range(9)
        ]
        assert [answer.status_code for answer in answers] == [200] * 8 + [503]
        for answer in answers:
            answer.close()


class TestTheRest:
    def test_destinations(self, node):
        node.call("POST", "/destinations", BODIES["destination"][0])

        assert node.call("POST", "/destinations/h/test", scope="operate")[1]["ok"]
        assert node.call("POST", "/destinations/h/pause")[1]["state"] == "paused"
        assert node.call("POST", "/destinations/h/resume")[1]["state"] == "active"
        assert node.call("POST", "/destinations/h/replay", {"since": 5})[1]["events"] == 7
        assert node.call("POST", "/destinations/h/replay", {"after": 3})[0] == 200
        assert node.call("POST", "/destinations/h/replay", {})[0] == 200
        assert node.call("POST", "/destinations/h/replay", {"after": 3, "since": 5})[0] == 422
        assert node.deliveries.asked == [
            ("h", "paused"), ("h", "active"), ("h", 5, None), ("h", None, 3), ("h", None, None),
        ]  # fmt: skip
        assert node.call("GET", "/destinations/h/attempts")[1]["items"][0]["consumer"] == "h"
        (failed,) = node.call("GET", "/destinations/h/attempts?failed=true")[1]["items"]
        assert failed["outcome"] == "failed"
        assert node.call("GET", "/deliveries")[1]["items"][0]["name"] == "hook"
        for path in ("test", "pause", "resume"):
            assert node.call("POST", f"/destinations/nothing/{path}")[0] == 404

    def test_dead_letters(self, node):
        first = node.call("GET", "/dead-letters?limit=3")[1]
        rest = node.call("GET", f"/dead-letters?limit=3&cursor={first['next']}")[1]

        assert [one["id"] for one in first["items"] + rest["items"]] == [1, 2, 3, 4, 5]
        assert node.call("POST", "/dead-letters/retry", {"ids": [1, 2, 2]})[1] == {"retried": 2}
        assert node.call("POST", "/dead-letters/retry", {"ids": [9]})[0] == 404
        assert node.call("POST", "/dead-letters/drop", {"ids": [-1, 3]})[1] == {"dropped": 1}

    def test_suppressions(self, node):
        entries = {"entries": [{"email": "a@x.example"}, {"email": "b@x.example", "listid": "n"}]}
        assert node.call("POST", "/suppressions", entries, scope="operate")[1] == {"added": 2}
        assert node.call("GET", "/suppressions/A@x.example")[1]["suppressed"]
        page = node.call("GET", "/suppressions?limit=1")[1]
        assert len(node.call("GET", f"/suppressions?cursor={page['next']}")[1]["items"]) == 1
        assert node.call("DELETE", "/suppressions/b@x.example?listid=n")[0] == 204
        assert node.call("DELETE", "/suppressions/b@x.example")[0] == 404
        assert node.call("POST", "/suppressions", {"entries": [{"email": "xxx"}]})[0] == 422

    def test_link_rules(self, node):
        override = {"key": "https://a.example/", "url": "https://b.example/"}
        assert node.call("POST", "/link-rules/override", override)[0] == 200
        assert node.call("POST", "/link-rules/block", {"key": "Evil.example"})[0] == 200
        assert node.call("GET", "/link-rules")[1] == {
            "overrides": {"https://a.example/": "https://b.example/"},
            "blocks": ["evil.example"],
        }
        lift = {"rule": "block", "key": "evil.example"}
        assert node.call("POST", "/link-rules/lift", lift)[0] == 200
        assert node.call("POST", "/link-rules/lift", lift)[0] == 404

    def test_statistics(self, node):
        assert node.call("GET", "/statistics/sends")[1] == {"items": [], "next": None}
        assert node.call("GET", "/statistics/sends/s1")[0] == 404
        assert node.call("GET", "/statistics/sends/s1/links")[1]["items"] == []
        assert node.call("GET", "/statistics/hours?since=0&until=9")[1]["items"] == []
        assert node.call("GET", "/status")[1] == {"problems": []}

    def test_users_and_keys(self, node):
        user = {"name": "ann", "password": "correct horse battery", "role": "read"}
        assert node.call("POST", "/users", user)[0] == 201
        assert node.call("POST", "/users", user)[0] == 409
        assert node.call("PATCH", "/users/ann", {"role": "admin", "totp": False})[0] == 200
        assert node.call("GET", "/users")[1]["items"][0]["role"] == "admin"
        assert node.call("DELETE", "/users/ann")[0] == 204
        status, made, _ = node.call("POST", "/api-keys", {"name": "k", "scopes": ["read"]})
        assert (status, made["key"][:3]) == (201, "sb_")
        assert node.call("DELETE", f"/api-keys/{made['id']}")[0] == 204
        assert "key" not in node.call("GET", "/api-keys")[1]["items"][0]
        assert node.call("POST", "/me/totp")[0] == 403

    def test_the_document_and_its_page(self, node):
        status, document, _ = node.call("GET", "/openapi.json", scope=None)
        page = node.app.test_client().get("/api/v1/docs").text

        assert (status, document["openapi"]) == (200, "3.1.0")
        assert "<script" not in page
        assert all(path in page for path in document["paths"])
        assert "ValidationErrorModel" not in json.dumps(document)
