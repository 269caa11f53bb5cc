"""docs/reference/smtp.md says every reply that the code can give, and no other."""

import re
from pathlib import Path

import aiosmtpd.smtp

ROOT = Path(__file__).resolve().parents[3]
#: Replies with a value in them: what stands before it.
_UP_TO = re.compile(
    r"(250 2\.0\.0 Ok: (?:in the outbox as|)|501 5\.5\.4 Syntax:|500 5\.5\.1 Say "
    r"|421 4\.7\.0 (?= |HOST|$))"
)


def normal(reply: str) -> str:
    found = _UP_TO.match(reply)
    return (found[1] if found else reply).strip()


def test_every_reply_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "smtp.md").read_text()
    documented = set()
    for cell in re.findall(r"^\| ([2-5]\d\d .*?) \|", page, re.MULTILINE):
        parts = re.split(r", (?=\d{3} )", cell)
        documented |= {normal(part) for part in parts}
    spoken = set()
    for folder in ("smtp", "relay"):
        for path in (ROOT / "src" / "sendback" / folder).glob("*.py"):
            text = path.read_text()
            for reply in re.findall(r'b"([2-5]\d\d \d\.\d+\.\d+ ?[^"\\]*)', text):
                spoken.add(normal(reply))
            for code, words in re.findall(r'Answer\(\s*(\d+), f?"(\d\.\d+\.\d+ [^"]*)"', text):
                spoken.add(normal(f"{code} {words}"))
    library = Path(aiosmtpd.smtp.__file__).read_text()
    spoken |= set(re.findall(r'CODE_[A-Z]+ = "([^"]*)"', library))
    assert len(spoken) > 50
    assert spoken - documented == set()
    assert documented - spoken == set()
