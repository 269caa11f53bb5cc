"""Settings from file, environment and flags; every error names its place and its cure."""

from pathlib import Path

import pytest

from sendback.config import load, load_with_origins
from sendback.config.load import parse_listen
from sendback.errors import Malformed, Misconfigured
from sendback.model import Storage


def read(tmp_path: Path, text: str | bytes, **environ: str):
    file = tmp_path / "sendback.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(file, environ=environ, cwd=tmp_path)


def refused(tmp_path: Path, text: str | bytes, **environ: str) -> Misconfigured:
    with pytest.raises(Misconfigured) as caught:
        read(tmp_path, text, **environ)
    return caught.value


def test_nothing_set_is_a_whole_node(tmp_path):
    settings = load(environ={"HOME": str(tmp_path)}, cwd=tmp_path)

    assert settings.web.listen == "127.0.0.1:8080"
    assert settings.journal.click == "disk"
    assert settings.journal.open == "os"
    assert settings.storage is Storage.LOCAL  # S4.8, S4.9
    assert settings.server_id


def test_order_is_file_environment_flags(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('server_id = "file"\n[web]\nthreads = 3\n')
    environ = {"SENDBACK_SERVER_ID": "variable", "SENDBACK_WEB__THREADS": "5"}

    settings, origins = load_with_origins(
        file, flags={"server_id": "flag"}, environ=environ, cwd=tmp_path
    )

    assert (settings.server_id, settings.web.threads) == ("flag", 5)
    assert origins["server_id"] == "flag"
    assert origins["web.threads"] == "SENDBACK_WEB__THREADS"


def test_the_file_is_the_first_that_exists(tmp_path):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "sendback.toml").write_text('server_id = "here"')
    named = tmp_path / "named.toml"
    named.write_text('server_id = "named"')

    assert load(environ={}, cwd=tmp_path).server_id == "here"
    assert load(environ={"SENDBACK_CONFIG": str(named)}, cwd=tmp_path).server_id == "named"
    assert load(named, environ={}, cwd=tmp_path).server_id == "named"


def test_an_unknown_key_names_file_line_key_and_the_nearest_name(tmp_path):
    error = refused(tmp_path, "[web]\n\nthread = 3\n")

    assert error.place == f"{tmp_path}/sendback.toml:3"
    assert "'thread'" in str(error)
    assert "'threads'" in str(error.hint)


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[web]\nthreads = 'many'\n", 2, "web.threads"),
        ("[web]\nthreads = -1\n", 2, "web.threads"),
        ("[web]\nthreads = 0\n", 2, "web.threads"),
        ("[web]\nfast_path = 'yes'\n", 2, "web.fast_path"),
        ("[web]\nlisten = '127.0.0.1'\n", 2, "address:port"),
        ("[web]\nlisten = '127.0.0.1:65536'\n", 2, "address:port"),
        ("[web]\nlisten = '::1:8080'\n", 2, "[::1]:8080"),
        ("server_id = 'a'\nserver_id = 'b'\n", 2, "overwrite"),
        ("bouncemaxbytes = '5 m'\nx = 1", 2, "unknown key 'x'"),
        ("bouncemaxbytes = 'lots'\n", 1, "no size"),
        ("http_trusted_proxy_ips = ['10.0.0.1/8']\n", 1, "host bits"),
        ("default_event_tracking_metadata_storage = 'lokal'\n", 1, "lokal"),
        ("external_metadata_event_tracking_link_rows = 'all'\n", 1, "link_rows"),
        ("external_metadata_event_tracking_database_read_failover = 'b'\n", 1, "stands in for"),
        ("[[mail_class]]\nname = 'xx'\nevent_tracking_metadata_storage = 'cloud'\n", 3, "cloud"),
        ("[[url_domain]]\ndomain = 'a b'\n", 2, "not a host name"),
        ("[[url_domain]]\ndomain = 'a.ex'\n\n[[url_domain]]\ndomain = 'A.ex'\n", 4, "twice"),
        ("[[url_domain]]\ndomain = 'a.ex'\napple_app_site_association = '{'\n", 3, "valid JSON"),
        ("[[mail_class]]\nname = 'x'\n", 2, "2 to 64 letters"),
        ("[[mail_class]]\nname = 'news'\ntrack_click = true\n", 3, "track_click"),
        ("[[bounce_mailbox]]\naddress = 'muchtoolong@b.example'\n", 2, "at most 7"),
        ("[[destination]]\nname = 'd'\ntype = 'webhook'\nurl = 'ftp://x'\n", 4, "http://"),
        ("incoming_smtp_accept_proxy_protocol = true\n", 1, "smtp_trusted_proxy_ips"),
        ("[submission]\nlisten = '0.0.0.0:587'\n", 2, "allowed_networks"),
        ("[submission]\nlisten = '0.0.0.0:587'\nallowed_networks = []\n", 2, "allowed_networks"),
        ("[smtp]\ntls_key = '/k'\n", 2, "together"),
        ("[[smtp_route]]\ndomain = '*'\nhost = '127.0.0.1'\nport = 2587\n", 1, "own submission"),
    ],
)  # fmt: skip
def test_a_wrong_value_names_its_line(tmp_path, text, line, says):
    error = refused(tmp_path, text)

    assert error.place == f"{tmp_path}/sendback.toml:{line}", str(error)
    assert says in f"{error} {error.hint}"


@pytest.mark.parametrize(
    ("raw", "says"),
    [(b"\xff\xfe", "not UTF-8"), (b"[web\n", ""), (b"a = ", ""), (b"[web]\nthreads =\t\n", "")],
)
def test_a_file_that_is_no_toml_names_its_line(tmp_path, raw, says):
    error = refused(tmp_path, raw)

    assert str(error.place).rpartition(":")[2].isdigit()
    assert says in str(error)


@pytest.mark.parametrize(
    "raw", [b"", b"\xef\xbb\xbfserver_id = 'a'", b"server_id = 'a'\r\n[web]\r\n"]
)
def test_empty_bom_and_crlf_are_fine(tmp_path, raw):
    read(tmp_path, raw)


def test_a_file_that_is_missing_or_a_directory_is_named(tmp_path):
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(Misconfigured) as caught:
            load(path, environ={}, cwd=tmp_path)
        assert caught.value.place == str(path)


def test_lists_and_tables_in_variables_are_json(tmp_path):
    environ = {
        "SENDBACK_HTTP_TRUSTED_PROXY_IPS": '["10.0.0.0/8"]',
        "SENDBACK_URL_DOMAIN": '[{"domain": "l.example", "tls": true}]',
        "SENDBACK_EVENTS__MAX_BYTES": "5 GiB",
        "SENDBACK_WEB__FAST_PATH": "false",
    }
    settings = load(environ=environ, cwd=tmp_path)

    assert settings.http_trusted_proxy_ips == ("10.0.0.0/8",)
    assert settings.url_domain[0].link_base == "https://l.example"
    assert settings.events.max_bytes == 5 << 30
    assert settings.web.fast_path is False


def test_a_variable_may_name_a_file(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("node-7\n\n")

    assert (
        load(environ={"SENDBACK_SERVER_ID_FILE": str(secret)}, cwd=tmp_path).server_id == "node-7\n"
    )


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"SENDBACK_WEB__LISTN": ":1"}, "SENDBACK_WEB__LISTN"),
        ({"SENDBACK_SERVER_ID": "a", "SENDBACK_SERVER_ID_FILE": "/x"}, "SENDBACK_SERVER_ID_FILE"),
        ({"SENDBACK_SERVER_ID_FILE": "/does/not/exist"}, "SENDBACK_SERVER_ID_FILE"),
        ({"SENDBACK_WEB__THREADS": "many"}, "SENDBACK_WEB__THREADS"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path, environ, place):
    with pytest.raises(Misconfigured) as caught:
        load(environ=environ, cwd=tmp_path)

    assert caught.value.place == place


def test_a_misspelt_variable_gets_the_nearest_name(tmp_path):
    with pytest.raises(Misconfigured) as caught:
        load(environ={"SENDBACK_WEB__LISTN": ":1"}, cwd=tmp_path)

    assert "SENDBACK_WEB__LISTEN" in str(caught.value.hint)


def test_data_dir_follows_the_service_manager_then_the_checkout_then_the_home(tmp_path):
    checkout = tmp_path / "checkout"
    (checkout / "src" / "sendback").mkdir(parents=True)
    (checkout / "pyproject.toml").touch()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    assert load(environ={"STATE_DIRECTORY": "/s"}, cwd=checkout).data_dir == "/s"
    assert load(environ={}, cwd=checkout).data_dir == str(checkout / "data")
    xdg = {"XDG_DATA_HOME": str(tmp_path)}
    assert load(environ=xdg, cwd=elsewhere).data_dir == str(tmp_path / "sendback")


def test_the_legacy_file_makes_stateless_the_default_and_the_directive_wins(tmp_path):  # S4.8
    control = tmp_path / "control"
    control.mkdir()
    (control / "opt.simplemh_stateless_event_handling").write_text("1\n")
    flags = {"data_dir": str(tmp_path)}

    assert load(flags=flags, environ={}, cwd=tmp_path).storage is Storage.STATELESS
    local = {"SENDBACK_DEFAULT_EVENT_TRACKING_METADATA_STORAGE": "local"}
    assert load(flags=flags, environ=local, cwd=tmp_path).storage is Storage.LOCAL


def test_local_server_names_come_from_directive_and_control_file(tmp_path):  # S0.13
    control = tmp_path / "control"
    control.mkdir()
    (control / "opt.treat_qsbf_bounces_as_local_server_names").write_text(
        "MTA2.example\n\nmta3.example"
    )
    environ = {"SENDBACK_TREAT_QSBF_BOUNCES_AS_LOCAL_SERVER_NAMES": '["mta1.example"]'}
    settings = load(flags={"data_dir": str(tmp_path)}, environ=environ, cwd=tmp_path)

    assert settings.local_server_names == {"mta1.example", "mta2.example", "mta3.example"}


def test_the_example_file_loads(tmp_path):
    example = Path(__file__).resolve().parents[3] / "config" / "sendback.example.toml"
    text = example.read_text()

    assert load(example, environ={}, cwd=tmp_path).web.threads == 16
    uncommented = "\n".join(
        line.removeprefix("# ")
        if " = " in line and "..." not in line and "[[" not in line
        else line
        for line in text.split("# [[")[0].splitlines()
    )
    file = tmp_path / "all.toml"
    file.write_text(uncommented.replace('default_event_tracking_metadata_storage = ""', ""))
    assert load(file, environ={}, cwd=tmp_path).web.threads == 16


@pytest.mark.parametrize(
    ("text", "expected"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:0", ("::1", 0)), (":25", ("0.0.0.0", 25))],
)
def test_listen_addresses(text, expected):
    assert parse_listen(text) == expected


@pytest.mark.parametrize("text", ["", "80", "a:b", "::1:80", "h:99999", "h:-1", "fe80::1%eth0:25"])
def test_listen_addresses_refused(text):
    with pytest.raises(Malformed):
        parse_listen(text)
