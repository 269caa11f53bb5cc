"""The event that `destination test` sends: a click that nobody made."""

import uuid

import msgspec

from sendback.eventlog import StoredEvent
from sendback.model import Click, uuid7


def made_up_event(server_id: str, now: float) -> StoredEvent:
    """An engine_click of nobody@example.invalid, a bot, with seq 0 and an id of its own."""
    now_ms = int(now * 1000)
    event = Click(
        event_time=now_ms // 1000,
        event_time_ms=now_ms,
        event_unique_id=str(uuid.UUID(bytes=uuid7(now_ms))),
        server_id=server_id,
        email="nobody@example.invalid",
        listid="sendback-test",
        sendid="sendback-test",
        mail_class="sendback_test",
        engine_ip="192.0.2.1",
        user_agent="sendback destination test",
        agent_class="scanner",
        agent_reasons=("test",),
        is_bot=True,
        click_url="https://example.invalid/",
        link_pos=1,
    )
    body = msgspec.json.encode(event)
    return StoredEvent(0, "engine_click", now_ms, event.event_unique_id, body)
