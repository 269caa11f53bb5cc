"""Finished records are emptied in place; the rest, and whoever reads it, notices nothing."""

from sendback.journal import Journal, JournalReader
from sendback.journal.blanking import blank, ends


def test_only_finished_records_are_emptied_while_the_writer_goes_on(tmp_path):
    journal = Journal(tmp_path, "smtp")
    for payload in (b"ann 1", b"bob 1"):
        assert journal.append(payload)
    reader = JournalReader(tmp_path)
    assert len(reader.read()) == 2
    finished = reader.positions()
    assert journal.append(b"ann 2")
    assert ends(tmp_path) != finished

    def names_ann(payload):
        return payload.startswith(b"ann")

    assert blank(tmp_path, finished, names_ann, dry_run=True) == 1
    assert blank(tmp_path, {}, names_ann) == 0
    assert blank(tmp_path, finished, names_ann) == 1
    assert blank(tmp_path, finished, names_ann) == 0
    assert journal.append(b"bob 2")
    [segment] = tmp_path.glob("*.seg")
    assert b"ann 1" not in segment.read_bytes()
    assert [record.payload for record in reader.read()] == [b"ann 2", b"bob 2"]
    journal.close()
    assert reader.read() == []
    assert reader.delete_read()

    assert reader.counters()["damaged"] == 0


def test_a_journal_read_anew_has_no_damage_and_no_address(tmp_path):
    journal = Journal(tmp_path, "smtp")
    for number in range(20):
        journal.append(b"ann %d" % number)
    journal.close()
    assert blank(tmp_path, ends(tmp_path), lambda payload: True) == 20
    again = JournalReader(tmp_path)

    assert {record.payload.strip(b"\0") for record in again.read()} == {b""}
    assert again.counters()["damaged"] == 0
