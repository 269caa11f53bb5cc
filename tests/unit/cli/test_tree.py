"""The command tree: every command loads, explains itself, and takes the shared options."""

import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sendback import cli

ROOT = Path(__file__).resolve().parents[3]


def walk(command: click.Command, path: tuple[str, ...] = ()):
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name="sendback")
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None, name
            yield from walk(child, (*path, name))


TREE = {" ".join(path): command for path, command in walk(cli.tree())}


@pytest.mark.parametrize("name", TREE)
def test_every_command_helps_itself_and_takes_the_shared_options(name):
    done = CliRunner().invoke(cli.tree(), [*name.split(), "--help"], prog_name="sendback")

    assert done.exit_code == 0, done.output
    options = {option for param in TREE[name].params for option in param.opts}
    assert {"--config", "--data-dir", "--json"} <= options
    assert TREE[name].help


def test_the_commands_of_the_contract_exist():
    # CONTRACT section 5
    wanted = set(
        """
        check/dns check/domain check/message check/all selftest
        serve health config/show config/check db/upgrade db/current db/check secret-constants
        secret-constants/add secret-constants/promote secret-constants/rotate
        secret-constants/retire secret-constants/fingerprint secret-constants/list rewrite
        link/decode link/override link/block events/list events/tail events/status
        events/reclassify destination/test destination/pause destination/resume
        destination/replay dead-letters/list dead-letters/retry dead-letters/drop bounces/parse
        bounces/recovery suppression/list suppression/add suppression/remove suppression/import
        suppression/export suppression/check metadata/init metadata/status metadata/prune
        stats/sends stats/send stats/links recipient/show recipient/erase user/add user/list
        user/passwd user/remove api-key/create api-key/list api-key/revoke bench completion
        """.split()  # noqa: SIM905 - a list of a hundred quotes reads worse
    )
    kinds = (
        "url-domain mail-class bounce-mailbox complaint-mailbox database-connection destination "
        "peer"
    )
    verbs = ("add", "list", "show", "set", "remove")
    wanted |= {f"{kind}/{verb}" for kind in kinds.split() for verb in verbs}

    assert wanted <= {name.replace(" ", "/") for name in TREE}


@pytest.mark.parametrize("arguments", [["nonsense"], ["events", "list", "--nonsense"], ["rewrite"]])
def test_a_wrong_call_is_2(arguments, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sendback", *arguments],
        capture_output=True, text=True, check=False, cwd=tmp_path, input="From: a@b.c\n\nx",
    )  # fmt: skip

    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_misspelt_command_gets_the_nearest_name(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sendback", "evnets"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip

    assert "events" in done.stderr


def test_output_that_goes_nowhere_is_not_0(tmp_path):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "sendback", "config", "show"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path,
        )  # fmt: skip

    assert done.returncode == 1
    assert "Traceback" not in done.stderr


def test_a_reader_that_leaves_is_no_traceback(tmp_path):
    done = subprocess.run(
        f"{sys.executable} -m sendback config show | head -1",
        shell=True, capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip

    assert done.stderr == ""


def test_control_characters_in_arguments_do_not_reach_the_terminal(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sendback", "link", "decode", "http://x/click?\x1b[31m\n"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip

    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_of_that_shell(shell):
    done = CliRunner().invoke(cli.tree(), ["completion", shell])

    assert done.exit_code == 0
    assert f"_SENDBACK_COMPLETE={shell}_complete" in done.output


def test_manual_pages_are_built_from_the_tree(tmp_path):
    subprocess.run([sys.executable, str(ROOT / "docs" / "man.py"), str(tmp_path)], check=True,
                   capture_output=True)  # fmt: skip

    assert len(list(tmp_path.glob("*.1"))) == len(TREE)
    assert (tmp_path / "sendback-events-list.1").read_text().startswith(".TH")


def test_plain_commands_import_nothing_heavy():
    # their start stays within 0.3 s: facts/ecosystem.md section 5
    code = (
        "import sys; from click.testing import CliRunner; from sendback import cli\n"
        "CliRunner().invoke(cli.tree(), ['health', '--data-dir', '/nonexistent'])\n"
        "CliRunner().invoke(cli.tree(), ['config', 'check'])\n"
        "print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {
        "sqlalchemy",
        "flask",
        "pydantic",
        "psycopg",
        "rich",
        "aiosmtplib",
        "prometheus_client",
    }

    assert not heavy & set(re.findall(r"\S+", done.stdout))
