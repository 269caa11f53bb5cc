"""A share of tests/fuzz/fuzz_rewriting.py in every run: seeds kept, and fresh ones."""

import random
import secrets
import time

import pytest
from judges import STEERING, disagreement
from scanning import PIECES, any_mutant, seeds

#: Seconds of one core for each kind of mutant; the seed is printed when one fails.
BUDGET = 16.0
ALL = PIECES + STEERING * 2


def check(seed: int, *, until: float, most: int, is_steered: bool) -> int:
    random_ = random.Random(seed)
    documents = seeds()
    done = 0
    while done < most and time.process_time() < until:
        if is_steered:
            document = b"".join(random_.choices(ALL, k=random_.randint(3, 40)))
        else:
            document = any_mutant(random_, documents)
        judge = disagreement(document)
        assert not judge, f"seed {seed}, mutant {done}: {judge} reads otherwise: {document!r}"
        done += 1
    return done


@pytest.mark.parametrize("is_steered", [False, True])
@pytest.mark.parametrize("seed", [1, 11, 31, 2026])
def test_kept_seeds(seed: int, is_steered: bool) -> None:
    done = check(seed, until=time.process_time() + 60, most=1000, is_steered=is_steered)
    assert done == 1000


@pytest.mark.parametrize("is_steered", [False, True])
def test_fresh_seeds(is_steered: bool) -> None:
    until = time.process_time() + BUDGET
    done = check(secrets.randbits(32), until=until, most=10**9, is_steered=is_steered)
    assert done > 1000
