"""control/addresses.json: where the node of a directory listens, as long as it lives."""

import json
import os
import subprocess
import sys

import pytest

from sendback.bootstrap.addresses import announced_in, running_addresses, write_addresses


def test_addresses_of_a_node_that_runs(tmp_path):
    described = {"web": "http://127.0.0.1:8080", "smtp": "[::1]:2525", "pid": os.getpid()}
    write_addresses(announced_in(tmp_path), described)

    assert running_addresses(tmp_path) == {"web": ("127.0.0.1", 8080), "smtp": ("::1", 2525)}
    assert [path.name for path in tmp_path.iterdir()] == ["addresses.json"]


def test_a_node_that_was_killed_is_not_believed(tmp_path):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    write_addresses(announced_in(tmp_path), {"web": "http://127.0.0.1:8080", "pid": done.pid})

    assert running_addresses(tmp_path) == {}


@pytest.mark.parametrize(
    "text", [None, "", "[]", "{}", '{"pid": "x"}', json.dumps({"pid": -(2**70)})]
)
def test_what_is_no_announcement(tmp_path, text):
    if text is not None:
        announced_in(tmp_path).write_text(text)

    assert running_addresses(tmp_path) == {}
