"""What is shipped stands alone: the wheel, the Dockerfile's steps, the lists that must agree."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built from a copy of what the Dockerfile copies."""
    source = tmp_path_factory.mktemp("source")
    for name in re.findall(
        r"^COPY ((?:(?!--)\S+ )+)\./", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    ):
        for part in name.split():
            subprocess.run(["cp", "-r", str(ROOT / part), str(source)], check=True)
    for cache in source.rglob("__pycache__"):
        subprocess.run(["rm", "-r", str(cache)], check=True)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"),
            *("--disable-pip-version-check", "-w", str(source / "dist"), str(source)),
        ],
        check=True,
        capture_output=True,
    )
    (built,) = (source / "dist").glob("*.whl")
    return built


def test_the_wheel_holds_migrations_rules_and_templates(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())

    assert "sendback/database/migrations/env.py" in names
    assert "sendback/reports/rules.toml" in names
    assert "sendback/admin/templates/status.html" in names
    assert "sendback/py.typed" in names
    assert not [name for name in names if name.startswith("tests") or "__pycache__" in name]


def test_the_wheel_works_in_an_empty_directory(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    message = b"From: a@example.org\n\nSee https://example.org/\n"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sendback", "rewrite", "--rcpt", "b@example.org"),
            *("--data-dir", str(tmp_path / "data")),
        ],
        input=message,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=tmp_path,
        check=True,
    )

    assert b"X-Mailer-Info:" in done.stdout
    shown = subprocess.run(
        [sys.executable, "-c", "import sendback; print(sendback.__file__)"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(site)}, check=True,
    )  # fmt: skip
    assert shown.stdout.startswith(str(site))


def test_every_dependency_has_its_reason():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[A-Za-z0-9_-]+", item)[0] for item in project["dependencies"]}
    reasons = (ROOT / "docs" / "adr" / "0001-dependencies.md").read_text()
    listed = set(re.findall(r"^\| ([a-z0-9-]+) \| ", reasons, re.MULTILINE)) - {"package"}

    assert listed == declared


def test_locks_are_hashed_and_name_no_address():
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (ROOT / name).read_text()

        assert "://" not in text
        assert "index-url" not in text
        pinned = re.findall(r"^[A-Za-z0-9_.-]+==", text, re.MULTILINE)
        assert len(pinned) > 20
        assert len(re.findall(r"^[A-Za-z0-9_.-]+==\S+ \\\n    --hash", text, re.MULTILINE)) == len(
            pinned
        )


def test_versions_agree():
    import sendback

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == sendback.__version__
    assert f"## {sendback.__version__}" in (ROOT / "CHANGELOG.md").read_text()
