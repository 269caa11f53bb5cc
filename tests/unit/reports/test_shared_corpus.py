"""The labelled messages beside the checkout: whole, and cut at 5,120 bytes."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from sendback.reports import as_prediction, parse

pytestmark = pytest.mark.corpus


def _scorer(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("score", folder / "score.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _percentages(folder: Path, cut: int | None) -> dict[str, float]:
    scorer = _scorer(folder)
    rows = [json.loads(line) for line in (folder / "labels.jsonl").read_text("utf-8").splitlines()]
    predictions = {
        scorer.key(row["file"]): as_prediction(parse((folder / row["file"]).read_bytes()[:cut]))
        for row in rows
    }
    scores = scorer.score(rows, predictions)
    return {name: 100 * good / total for name, (good, total) in scores.items()}


def test_the_whole_messages(corpus: Path):
    score = _percentages(corpus / "bounces", None)

    assert score["detect"] >= 99
    assert score["recipient"] >= 98.5
    assert score["hard_soft"] >= 97
    assert score["bad_address"] >= 97.5
    assert score["false_dead"] <= 0.4
    assert score["complaint"] >= 97
    assert score["complaint_rcpt"] >= 97
    assert score["feedback_type"] >= 97
    assert score["auto_reply"] >= 80
    assert score["delay"] >= 96
    assert score["false_positive"] <= 1


def test_cut_at_5120_bytes(corpus: Path):  # S0.12
    score = _percentages(corpus / "bounces", 5120)

    assert score["detect"] >= 99
    assert score["recipient"] >= 94
    assert score["hard_soft"] >= 93
    assert score["false_dead"] <= 0.4
