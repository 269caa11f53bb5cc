"""Addresses as they stand in reports: found, cleaned, compared, unwrapped. Pure text."""

import re

#: Letters of East Asia touch an address without a space, so an address is either all narrow or
#: (its local part, a label of its domain) begins wide.
_NARROW = r"[^\s<>\"'(),:;\[\]@\\|\u1100-\U0010ffff]"
_WIDE = r"\u1100-\u1fff\u2190-\u2fff\u3040-\ufeff\U00010000-\U0010ffff"
_LABEL = rf"(?:[A-Za-z0-9_\u0080-\u10ff-]+|[{_WIDE}][{_WIDE}A-Za-z0-9-]*)"
_HOST = rf"(?!-){_LABEL}(?:\.{_LABEL})*"

#: An address in running text. The lookbehinds keep the search linear: a run is tried once. Atomic:
#: whatever must follow, an address is never cut short for it.
ADDRESS = re.compile(
    rf"(?>(?:(?<!{_NARROW}){_NARROW}+|(?<![{_WIDE}0-9._+-])[{_WIDE}][{_WIDE}0-9._+-]*"
    rf'|"[^"\s@]{{1,64}}")@(?:\[[0-9a-fA-F.:IPv]{{3,45}}\]|{_HOST}))'
)
#: A quoted local part with spaces; only where a field holds nothing but an address.
_QUOTED = re.compile(rf'<?"[^"\n@]{{1,64}}"@{_HOST}')
#: The same for text that is ASCII, which is searched three times as fast.
_ASCII = r"[^\s<>\"'(),:;\[\]@\\|]"
ASCII_ADDRESS = re.compile(
    rf'(?<!{_ASCII})(?>(?:{_ASCII}+|"[^"\s@]{{1,64}}")@'
    r"(?:\[[0-9a-fA-F.:IPv]{3,45}\]|[A-Za-z0-9](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?))"
)
_XTEXT = re.compile(r"\+([0-9A-F]{2})")
_UTF8 = re.compile(r"\\x\{([0-9A-Fa-f]{1,6})\}")
_SRS0 = re.compile(r"srs0[=+-][^=]{1,64}=[^=]{1,8}=([^=]{1,255})=(.{1,320})", re.IGNORECASE)
_SRS1 = re.compile(r"srs1[=+-][^=]{1,64}=[^=]{1,255}=[=+-](.{1,600})", re.IGNORECASE)
_BATV = re.compile(
    r"(?:prvs=[0-9a-z]{8,12}[=/]|btv1==[0-9a-z]{1,40}==|msprvs1=[\w-]{1,80}=)", re.IGNORECASE
)
_BATV_TAIL = re.compile(r"prvs=([^=/]{1,200})[=/][0-9]{4}[0-9a-f]{6}", re.IGNORECASE)

#: Mail systems themselves: never the recipient that a report is about.
SYSTEM_NAMES = frozenset(
    [
        "mailer-daemon",
        "postmaster",
        "mail-daemon",
        "maildaemon",
        "mailerdaemon",
        "double-bounce",
        "mdaemon",
        "mail.delivery.system",
        "post_master",
        "poostmaster",
        "bounce-manager",
    ]
)


def find_address(text: str) -> str:
    """The first address in the text, or ""."""
    if "@" not in text:
        return ""
    found = (ASCII_ADDRESS if text.isascii() else ADDRESS).search(text)
    return found[0].strip(".-=*") if found else ""


def clean_address(value: str) -> str:
    """The address of a DSN field (`rfc822; <a@b>`, utf-8 forms, source routes), or ""."""
    kind, semicolon, rest = value.partition(";")
    if not semicolon or "@" in kind:
        kind, rest = "", value
    rest = rest.strip()
    if rest.startswith("@") and ":" in rest:
        rest = rest.partition(":")[2]
    if kind.strip().lower() == "utf-8" or "\\x{" in rest:
        rest = _UTF8.sub(lambda m: chr(min(int(m[1], 16), 0x10FFFF)), rest)
    elif "+40" in rest and "@" not in rest:
        rest = _XTEXT.sub(lambda m: chr(int(m[1], 16)), rest)
    quoted = _QUOTED.match(rest)
    return quoted[0].lstrip("<") if quoted else find_address(rest)


def is_system(address: str) -> bool:
    """Whether the address is a mail system's own."""
    return address.partition("@")[0].lower() in SYSTEM_NAMES


def has_domain(address: str) -> bool:
    """Whether the address has a dotted domain or a literal, as mail over the Internet needs."""
    domain = address.rpartition("@")[2]
    return "." in domain or domain.startswith("[")


def unwrap_srs_batv(address: str) -> str:
    """The address that a forwarder (SRS0, SRS1) or a signer (BATV) wrapped, else as given.

    Sender Rewriting Scheme: SRS0=HHH=TT=domain=local@forwarder; SRS1 nests it once more.
    BATV: prvs=tag=local@domain, btv1==tag==local@domain.
    """
    address = address.strip().strip("<>").strip()
    for _ in range(4):
        local, at, domain = address.rpartition("@")
        if not at:
            return address
        if found := _SRS1.fullmatch(local):
            address = f"SRS0={found[1]}@{domain}"
        elif found := _SRS0.fullmatch(local):
            address = f"{found[2]}@{found[1]}"
        elif found := _BATV_TAIL.fullmatch(local):
            address = f"{found[1]}@{domain}"
        elif found := _BATV.match(local):
            address = f"{local[found.end() :]}@{domain}"
        else:
            return address
    return address
