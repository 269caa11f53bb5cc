"""Use case: one step of one destination; and of a consumer inside the house.

step      `Delivery`: order, retries, outages, parked events, dead letters
flight    several batches on their way at once
halving   who in a batch is poison
parking   events that are tried alone, on a schedule of their own
made_up   the event that `destination test` sends
wanted    `Filter`: which events a destination wants
consumer  `Following`: statistics and alike, which keep their own cursor
room      `Room`: the log stays below its cap, and the dead don't hold up the living
"""

from sendback.delivery.consumer import Consumer, Following
from sendback.delivery.made_up import made_up_event
from sendback.delivery.parking import SCHEDULE
from sendback.delivery.room import Room
from sendback.delivery.step import PROBES, WINDOW_HOURS, Delivery
from sendback.delivery.wanted import Filter

__all__ = [
    "PROBES",
    "SCHEDULE",
    "WINDOW_HOURS",
    "Consumer",
    "Delivery",
    "Filter",
    "Following",
    "Room",
    "made_up_event",
]
