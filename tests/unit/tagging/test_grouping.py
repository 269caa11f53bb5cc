"""SendIDs by Statistic Report Grouping."""

import pytest

from sendback.model import MailClass
from sendback.tagging.grouping import send_id

MAY_25_2010 = 1274832000.0 - 1  # 2010-05-25 23:59:59 UTC


@pytest.mark.parametrize(
    ("fields", "instance", "expected"),
    [
        ({"name": "Default"}, "", "default20100525"),
        ({"name": "mm_list", "statistic_report_grouping": "daily_short"}, "", "mm100525"),  # S4.6
        ({"name": "News", "statistic_report_grouping": "monthly"}, "", "news201005"),
        ({"name": "News", "statistic_report_grouping": "per_instanceid"}, "9July", "news9july"),
        ({"name": "News", "statistic_report_grouping": "per_instanceid"}, "", "news"),
        ({"name": "N_", "statistic_report_grouping": "fixed", "sendid": "T-1"}, "x", "t-1"),
        ({"name": "_n", "statistic_report_grouping": "daily_short"}, "", "n100525"),
    ],
)
def test_grouping(fields, instance, expected):
    mail_class = MailClass(**fields)
    assert send_id(mail_class, header="", instance_id=instance, now=MAY_25_2010) == expected


def test_the_header_wins_in_lower_case():
    mail_class = MailClass(name="news")
    assert send_id(mail_class, header="Spring-Sale", instance_id="", now=0.0) == "spring-sale"


def test_the_day_is_that_of_utc(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        made = send_id(MailClass(name="news"), header="", instance_id="", now=MAY_25_2010)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert made == "news20100525"
