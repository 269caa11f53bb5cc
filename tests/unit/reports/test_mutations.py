"""A few thousand of the mutated samples of tests/fuzz/fuzz_reports.py in every run."""

import importlib.util
from pathlib import Path

from sendback.reports import as_prediction, parse

FUZZ = Path(__file__).parents[2] / "fuzz" / "fuzz_reports.py"


def test_no_mutation_makes_the_parser_fail():
    spec = importlib.util.spec_from_file_location("fuzz_reports", FUZZ)
    assert spec
    assert spec.loader
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)

    for raw in fuzz.mutations(3000, seed=7):
        report = parse(raw)
        assert not any("parser fault" in step for step in report.explain), report.explain
        assert as_prediction(report)["kind"]
