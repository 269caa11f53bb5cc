"""granian waits for an answer, not for a thread: what web_server.py relies on, with the real one.

One thread takes eight requests at once; nobody is answered before all have come.
"""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time

APPLICATION = """
import threading

class Application:
    can_serve = True
    def __init__(self):
        self.waiting = []
    def serve(self, environ, respond):
        if environ["PATH_INFO"] == "/ready":
            return respond(200, [("Content-Length", "0")], b"")
        self.waiting.append((respond, environ["QUERY_STRING"]))
        if len(self.waiting) == 8:
            threading.Thread(target=self.answer).start()
    def answer(self):
        for respond, query in self.waiting:
            respond(302, [("Location", query), ("Content-Length", "0")], b"")
            respond(200, [], b"a second answer is none")

application = Application()
"""


def test_one_thread_takes_eight_requests_that_wait(tmp_path):
    (tmp_path / "later_target.py").write_text(APPLICATION)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "sendback.supervisor.web_server", "later_target:application"],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(tmp_path),
            "SENDBACK_CHILD_LISTEN": f"127.0.0.1:{port}",
            "SENDBACK_CHILD_THREADS": "1",
        },
    )
    got: dict[int, tuple[int, str | None]] = {}

    def ask(path: str) -> tuple[int, str | None]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.getheader("Location")
        finally:
            connection.close()

    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                assert ask("/ready")[0] == 200
                break
            except OSError:
                assert time.monotonic() < deadline, "the server did not start"
                time.sleep(0.02)
        threads = [
            threading.Thread(target=lambda n=n: got.update({n: ask(f"/click?{n}")}))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        server.terminate()
        server.wait(20)

    assert got == {n: (302, str(n)) for n in range(8)}
