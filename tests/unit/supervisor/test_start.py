"""What is refused before anything starts: a port in use, a directory in use, unusable or full."""

import os
import socket
import stat

import pytest

from sendback.bootstrap import data_dir
from sendback.bootstrap.status import StatusWriter, read_statuses
from sendback.errors import Unavailable
from sendback.supervisor.addresses import Claim


def test_a_port_in_use_is_one_clear_line():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(Unavailable, match=rf"web\.listen: 127\.0\.0\.1:{port} is in use"):
            Claim("web", f"127.0.0.1:{port}")


def test_a_claim_holds_its_port_and_takes_no_connection():
    claim = Claim("web", "127.0.0.1:0")
    try:
        assert claim.port
        with pytest.raises(Unavailable, match="in use"):
            Claim("admin", claim.listen)
        with socket.socket() as child:
            child.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            child.bind(("127.0.0.1", claim.port))
            child.listen()
            with socket.create_connection(("127.0.0.1", claim.port), 5):
                accepted, _ = child.accept()
                accepted.close()
    finally:
        claim.release()


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(Unavailable, match="not an address of this machine"):
        Claim("smtp", "192.0.2.1:2525")


def test_every_address_is_reached_over_loopback():
    claim = Claim("web", ":0")
    try:
        assert claim.reachable == f"127.0.0.1:{claim.port}"
    finally:
        claim.release()


def test_the_data_directory_is_made_private(tmp_path):
    data_dir.prepare(tmp_path / "a" / "data")

    assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700
    assert (tmp_path / "a" / "data" / "journal").is_dir()


def test_a_file_in_the_way_is_said(tmp_path):
    (tmp_path / "data").write_text("")

    with pytest.raises(Unavailable, match="a file stands in the way"):
        data_dir.prepare(tmp_path / "data")


def test_a_full_disk_is_refused_at_start(tmp_path, monkeypatch):
    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="the disk is full"):
        data_dir.prepare(tmp_path / "data")


def test_a_second_node_on_one_directory_is_refused_with_the_holder(tmp_path, monkeypatch):
    monkeypatch.setattr(data_dir, "LOCK_SECONDS", 0.1)
    first = data_dir.DataDirLock(tmp_path)

    with pytest.raises(Unavailable, match=rf"another sendback node uses it \(pid {os.getpid()}\)"):
        data_dir.DataDirLock(tmp_path)
    first.release()
    data_dir.DataDirLock(tmp_path).release()


def test_statuses_of_dead_processes_are_taken_away(tmp_path):
    writer = StatusWriter(tmp_path, "web", lambda: {"counters": {"clicks": 3}})
    writer.write()
    dead = tmp_path / "status" / "smtp-1.json"
    dead.write_text('{"part": "smtp", "pid": 4194304000}')
    (tmp_path / "status" / "broken.json").write_text("{")

    (status,) = read_statuses(tmp_path)

    assert (status["part"], status["counters"]) == ("web", {"clicks": 3})
    assert not dead.exists()
