"""What comes back by mail: parsed and classified. Pure: bytes in, a Report out, no I/O.

`parse` reads bounces, delays, complaints and automatic answers in any form and never raises;
identity evidence in it is raw, whoever attributes it checks the MACs. Counting is not here.
"""

from sendback.reports.addresses import unwrap_srs_batv
from sendback.reports.reading import parse
from sendback.reports.report import Report, ReportedRecipient, as_prediction

__all__ = ["Report", "ReportedRecipient", "as_prediction", "parse", "unwrap_srs_batv"]
