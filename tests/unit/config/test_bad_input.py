"""Configuration that is wrong, or only looks so: facts/reliability.md section 7, E1 to E20.

By the command that operators run, `config check`: 0 fine, 78 broken, and then it says where.
"""

import json
import socket

import pytest
from click.testing import CliRunner

from sendback.cli import tree
from sendback.config.load import load
from sendback.metadata.postgres import conninfo_of

FINE, BROKEN = 0, 78


@pytest.fixture
def check(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(content, *, command=("config", "check")):
        file = tmp_path / "sendback.toml"
        if content is not None:
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
        shared = ["--json", "--config", str(file), "--data-dir", str(tmp_path / "data")]
        done = CliRunner().invoke(tree(), [*command, *shared])
        assert done.exception is None or isinstance(done.exception, SystemExit)
        return done.exit_code, done.stdout

    return run


def dsn(text):
    return f"[[database_connection]]\nname = 'm'\ndsn = {text!r}\n"


@pytest.mark.parametrize(
    ("content", "code", "says"),
    [
        pytest.param(None, BROKEN, "sendback.toml", id="E1-missing"),
        pytest.param("", FINE, "", id="E2-empty"),
        pytest.param(b"server_id = '\xff'", BROKEN, "sendback.toml:1", id="E6-not-utf-8"),
        pytest.param(b"\xef\xbb\xbfserver_id = 'a'", FINE, "", id="E7-bom"),
        pytest.param("server_id = 'a'\r\n[web]\r\nthreads = 2\r\n", FINE, "", id="E8-crlf"),
        pytest.param("[web]\n\tthreads\t=\t2\n", FINE, "", id="E9-tab"),
        pytest.param("[web]\nthreds = 2\n", BROKEN, "did you mean 'threads'", id="E10-unknown"),
        pytest.param("server_id='a'\nserver_id='b'", BROKEN, "toml:2", id="E11-duplicate"),
        pytest.param("[web]\nthreads = '2'\n", BROKEN, "web.threads", id="E12-wrong-type"),
        pytest.param("server_id = ['a']\n", BROKEN, "server_id", id="E12-list-for-text"),
        pytest.param("[web]\nthreads = -1\n", BROKEN, "web.threads", id="E13-negative"),
        pytest.param("[web]\nthreads = 0\n", BROKEN, "web.threads", id="E13-zero"),
        pytest.param(f"[web]\nthreads = {9**30}\n", BROKEN, "web.threads", id="E13-huge"),
        pytest.param("[events]\nretention_days = nan\n", BROKEN, "retention", id="E13-nan"),
        pytest.param("[events]\nretention_days = inf\n", BROKEN, "retention", id="E13-inf"),
        pytest.param("bouncemaxbytes = '10k'\n", FINE, "", id="E14-10k"),
        pytest.param("bouncemaxbytes = '5 m'\n", FINE, "", id="E14-5-m"),
        pytest.param("bouncemaxbytes = '5 parsecs'\n", BROKEN, "no size", id="E14-parsecs"),
        pytest.param("bouncemaxbytes = '-1k'\n", BROKEN, "no size", id="E14-negative"),
        pytest.param("[web]\nfast_path = yes\n", BROKEN, "toml:2", id="E15-yes"),
        pytest.param("[web]\nfast_path = 'On'\n", BROKEN, "fast_path", id="E15-on"),
        pytest.param("[web]\nfast_path = 1\n", BROKEN, "fast_path", id="E15-1"),
        pytest.param("[web]\nlisten = '127.0.0.1:0'\n", FINE, "", id="E16-port-0"),
        pytest.param("[web]\nlisten = '127.0.0.1:65536'\n", BROKEN, "65536", id="E16-port-65536"),
        pytest.param("[web]\nlisten = '::1'\n", BROKEN, "[::1]:8080", id="E17-bare-v6"),
        pytest.param("[web]\nlisten = '::1:8080'\n", BROKEN, "[::1]:8080", id="E17-bare-v6-port"),
        pytest.param("[web]\nlisten = '[::1]:8080'\n", FINE, "", id="E17-v6"),
        pytest.param("[web]\nlisten = 'fe80::1%lo:80'\n", BROKEN, "[::1]:8080", id="E17-zone"),
        pytest.param("http_trusted_proxy_ips=['10.1.0.0/8']", BROKEN, "host bits", id="E18-bits"),
        pytest.param("http_trusted_proxy_ips=['10.0.0.0/33']", BROKEN, "toml:1", id="E18-mask"),
        pytest.param(dsn("host=a options=-csearch_path=x"), BROKEN, "dsn", id="E19-option"),
        pytest.param(dsn("host"), BROKEN, "dsn", id="E19-no-dsn"),
        pytest.param(dsn("postgresql://u:p%40%3A%2F%25@h/d"), FINE, "", id="E19-encoded"),
    ],
)
def test_a_file(check, content, code, says):
    exit_code, out = check(content)

    assert exit_code == code, out
    assert says in (out if code else "")
    assert "Traceback" not in out


def test_a_directory_and_what_can_not_be_read(check, tmp_path):  # E3, E4
    (tmp_path / "sendback.toml").mkdir()
    assert check(None)[0] == BROKEN
    (tmp_path / "sendback.toml").rmdir()
    (tmp_path / "sendback.toml").symlink_to("/proc/self/mem")  # root can't read it either
    code, out = check(None)
    assert code == BROKEN
    assert "can't be read" in json.loads(out)["error"]["message"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_secret_constants_that_others_can_read(check, tmp_path, mode):  # E5
    view = ("secret-constants", "--view")
    assert check("", command=view)[0] == FINE
    (tmp_path / "data" / "secret-constants.json").chmod(mode)
    code, out = check("", command=view)
    assert code == BROKEN
    assert f"{mode:04o}" in out


def test_ports_that_can_not_be_had(tmp_path, run_serve):  # E16
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_serve("SENDBACK_WEB__LISTEN", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def run_serve(tmp_path):
    from fixtures.node import FREE_PORTS, run_cli

    def run(name, value):
        env = {**FREE_PORTS, name: value}
        return run_cli("serve", "--data-dir", str(tmp_path / "data"), env=env, check=False)

    return run


@pytest.mark.parametrize("password", ["a@b", "a:b", "a/b", "a%b", "a b", "a'b", "a\\b", "p&?#=;"])
def test_a_password_of_any_letters_reaches_the_server_as_it_is(tmp_path, password):  # E19
    from psycopg.conninfo import conninfo_to_dict

    file = tmp_path / "sendback.toml"
    row = {"name": "m", "hostname": "h", "database": "d", "username": "u", "password": password}
    lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in row.items())
    file.write_text(f"[[database_connection]]\n{lines}\n")
    [connection] = load(file, environ={}, cwd=tmp_path).database_connection

    assert conninfo_to_dict(conninfo_of(connection))["password"] == password


@pytest.mark.parametrize(
    ("one", "two"),
    [
        pytest.param("ab" * 8, "ab" * 8, id="short-and-equal"),
        pytest.param("ab" * 7, "cd" * 32, id="short"),
        pytest.param("00" * 32, "00" * 32, id="placeholder"),
        pytest.param("ab" * 32, "ab" * 32, id="repeated"),
        pytest.param("zz" * 32, "cd" * 32, id="no-hex"),
        pytest.param("", "cd" * 32, id="empty"),
    ],
)
def test_constants_that_are_none(check, one, two):  # E20
    words = ("secret-constants", f"--constant1={one}", f"--constant2={two}")
    code, out = check("", command=words)

    assert code == 2
    assert one not in out or not one


def test_a_newline_behind_a_constant_is_harmless(check, tmp_path):  # E20
    import os

    one, two = os.urandom(32).hex(), os.urandom(32).hex()
    words = ("secret-constants", f"--constant1={one}\n", f"--constant2={two}\n")
    code, _ = check("", command=words)
    assert code in (FINE, 2)
    if code == FINE:
        assert one in check("", command=("secret-constants", "--view"))[1]
