"""A bounce as it is counted, on its way from finishing to repeat bounce counting."""

import msgspec


class Bounce(msgspec.Struct, frozen=True, kw_only=True):
    """A bounce that finishing attributed: verdict, address, and the journal record's id."""

    email: str
    listid: str = ""
    reason: str
    bounce_type: str
    hard: bool
    bad_address: bool
    time_ms: int
    record_id: bytes
