"""Every message of tests/corpus/reports says what its .json says; each bug adds one."""

import json
from pathlib import Path

import pytest

from sendback.reports import as_prediction, parse

CORPUS = Path(__file__).parents[2] / "corpus" / "reports"
MESSAGES = sorted(CORPUS.glob("*.eml"))
#: Those that bring our headers back.
RETURNED = [p for p in MESSAGES if b"tokenpart" in p.read_bytes() or p.stem == "base64-whole"]
INFO = "1.eyJhIjoxfQ-tokenpart-onetokenpart-two_9"
EXTRA = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVowMTIzNDU2Nzg5"


def test_the_corpus_is_there():
    assert len(MESSAGES) >= 100


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_the_message_says_what_is_expected(path: Path):  # S0.13, S0.16
    raw = path.read_bytes()

    report = parse(raw)

    prediction = as_prediction(report)
    for name, wanted in json.loads(path.with_suffix(".json").read_text()).items():
        found = prediction[name] if name in prediction else getattr(report, name)
        assert (list(found) if isinstance(found, tuple) else found) == wanted, (
            name,
            report.explain,
        )
    assert report.explain


@pytest.mark.parametrize("path", RETURNED, ids=lambda path: path.stem)
def test_our_headers_are_found_in_the_returned_copy(path: Path):
    report = parse(path.read_bytes())

    assert INFO in report.mailer_info
    assert EXTRA in report.mailer_info_extra


@pytest.mark.parametrize("path", MESSAGES, ids=lambda path: path.stem)
def test_line_ends_do_not_matter(path: Path):
    raw = path.read_bytes()

    assert as_prediction(parse(raw.replace(b"\n", b"\r\n"))) == as_prediction(parse(raw))


def test_dead_never_follows_from_a_cut():
    """However much of a live address's report is lost, it stays alive."""
    for path in MESSAGES:
        expected = json.loads(path.with_suffix(".json").read_text())
        if expected.get("bad_address") is False:
            raw = path.read_bytes()
            for size in range(400, len(raw), 173):
                report = parse(raw[:size])
                assert not any(r.bad_address for r in report.recipients), (path.stem, size)
