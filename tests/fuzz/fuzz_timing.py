"""Does the time of a refusal tell which octet of a tag was wrong? (facts/reliability.md W4)

    .venv/bin/python tests/fuzz/fuzz_timing.py [tries]

For each kind of token, tries with the first and with the last octet of the tag wrong, in turns
and in random order; t of the difference of their medians over 200 blocks, because neighbours in
time are alike on a machine that has other work.
|t| below 4.5 is what chance gives. The control has the first octet wrong both times: when it is
not below either, the machine was too busy to tell.
"""

import math
import random
import statistics
import sys
import time

from sendback import tokens
from sendback.errors import Forged
from sendback.secret_constants import Keyring, Purpose
from sendback.tokens import Version

KEYRING = Keyring.from_constants(bytes(range(32)), bytes(range(32, 64)))
LIMIT = 4.5
BLOCKS = 200
#: Below it is what a busy machine does to a clock that steps by ten.
VISIBLE_NS = 5.0


def main() -> int:
    """One line a kind; 1 when one of them tells."""
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    tells = False
    for version in (Version.STATELESS, Version.LOCAL, Version.EXTERNAL):
        (ns, t), (control_ns, control) = _t(version, tries), _t(version, tries, is_control=True)
        told = abs(t) >= LIMIT > abs(control) and abs(ns) >= VISIBLE_NS
        tells |= told
        print(
            f"{version.name:10} {ns:+.2f} ns, |t| = {abs(t):.1f}; control {control_ns:+.2f} ns,"
            f" |t| = {abs(control):.1f}; {tries:,} each: {'TELLS' if told else 'tells nothing'}"
        )
    return tells


def _t(version: Version, tries: int, *, is_control: bool = False) -> tuple[float, float]:
    good = bytearray(
        tokens.decode(tokens.seal(KEYRING, Purpose.CLICK, version, bytes(40)).encode())
    )
    # a sealed token begins with its tag, the others end with it
    is_sealed = version is Version.STATELESS
    first, last = (2, 17) if is_sealed else (len(good) - 12, len(good) - 1)
    last = first if is_control else last
    rng = random.Random(4)
    clock = time.perf_counter_ns
    differences = []
    for _ in range(BLOCKS):
        took: tuple[list[int], list[int]] = ([], [])
        for _ in range(2 * tries // BLOCKS):
            which = rng.random() < 0.5
            one = bytearray(good)
            one[last if which else first] ^= rng.randrange(1, 256)
            forged = bytes(one)  # a new object each time: where it lies shows in nanoseconds
            began = clock()
            try:
                tokens.open_binary(KEYRING, Purpose.CLICK, forged)
            except Forged:
                passed = clock() - began  # before the list is chosen, which takes time too
                took[which].append(passed)
        differences.append(statistics.median(took[0]) - statistics.median(took[1]))
    mean = statistics.fmean(differences)
    return mean, mean / (statistics.stdev(differences) / math.sqrt(BLOCKS))


if __name__ == "__main__":
    sys.exit(main())
