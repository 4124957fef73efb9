"""Alarms from the disk to a webhook: in order, at least once, whatever the receiver does."""

import json

import pytest

from d2road.traffic.watch.alarm_table import COLUMNS, AlarmTable
from d2road.traffic.watch.delivery import Delivery
from d2road.traffic.watch.outbox import Cursor, Outbox
from d2road.traffic.watch.webhook import Webhook
from d2road.utils.errors import ConfigError, DataError
from tests.factories.alarm_receivers import free_port, listening, wait_for

FAST = 0.02  # s, the first wait


def alarm(number):
    """What a report becomes, with what a table takes of it."""
    return {"kind": "alarm", "id": f"{number:06d}", "vehicles": [], **dict.fromkeys(COLUMNS[1:14], number),
            "image": None, "clip": None}  # fmt: skip


def ids(server):
    return [one["id"] for one in server.got]


def test_alarms_arrive_in_order_with_their_ids_as_keys(tmp_path):
    outbox = Outbox(tmp_path / "alarms.jsonl")
    with listening() as server:
        delivery = Delivery(outbox, Webhook(server.address), FAST)
        for number in range(20):
            outbox.add(alarm(number))
        assert delivery.close()
    assert ids(server) == server.keys == [f"{number:06d}" for number in range(20)]
    lines = (tmp_path / "alarms.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids(server)


def test_a_receiver_that_comes_late_gets_everything(tmp_path):
    outbox, port = Outbox(tmp_path / "alarms.jsonl"), free_port()
    delivery = Delivery(outbox, Webhook(f"http://127.0.0.1:{port}/alarms"), FAST)
    for number in range(5):
        outbox.add(alarm(number))
    wait_for(lambda: delivery.failures >= 2)
    with listening(port) as server:
        assert delivery.close()
    assert ids(server) == [f"{number:06d}" for number in range(5)]


def test_errors_of_the_server_are_tried_again_and_refused_alarms_are_kept_aside(tmp_path):
    outbox = Outbox(tmp_path / "alarms.jsonl")
    with listening(answers=[(503, {}), (429, {"Retry-After": "0"}), (500, {}), (200, {}), (422, {})]) as server:
        webhook = Webhook(server.address)
        delivery = Delivery(outbox, webhook, FAST)
        for number in range(3):
            outbox.add(alarm(number))
        assert delivery.close()
    assert ids(server) == ["000000", "000002"] and (delivery.failures, delivery.refused) == (3, 1)
    assert json.loads((tmp_path / f"alarms.jsonl.{webhook.name}.refused").read_text())["id"] == "000001"


def test_a_wait_that_the_server_asks_for_is_kept(tmp_path):
    from d2road.traffic.watch.delivery import NotDeliveredError

    with listening(answers=[(503, {"Retry-After": "7"})]) as server, pytest.raises(NotDeliveredError) as error:
        Webhook(server.address).deliver(b'{"id": "1"}\n')
    assert error.value.wait_s == 7.0


def test_the_next_run_delivers_what_this_one_could_not(tmp_path):
    path, port = tmp_path / "alarms.jsonl", free_port()
    webhook = Webhook(f"http://127.0.0.1:{port}/alarms")
    outbox = Outbox(path)
    delivery = Delivery(outbox, webhook, FAST)
    outbox.add(alarm(0))
    assert not delivery.close(timeout_s=0.2)
    with listening(port) as server:
        again = Outbox(path)
        assert again.count == 1
        delivery = Delivery(again, webhook, FAST)
        again.add(alarm(1))
        assert delivery.close()
        assert Delivery(Outbox(path), webhook, FAST).close()
    assert ids(server) == ["000000", "000001"]


def test_a_run_that_was_killed_before_its_note_delivers_twice_rather_than_never(tmp_path):
    outbox = Outbox(tmp_path / "alarms.jsonl")
    outbox.add(alarm(0))
    with listening() as server:
        webhook = Webhook(server.address)
        webhook.deliver(Cursor(outbox, webhook.name).peek())  # and the process is gone
        assert Delivery(outbox, webhook, FAST).close()
    assert ids(server) == ["000000", "000000"] and len(set(server.keys)) == 1


def test_memory_holds_one_alarm_however_many_wait(tmp_path):
    outbox = Outbox(tmp_path / "alarms.jsonl")
    for number in range(200):
        outbox.add({"id": str(number), "more": "x" * 1000})
    cursor = Cursor(outbox, "nobody")
    assert vars(outbox).keys() == {"path", "grown", "count"} and vars(cursor).keys() == {"outbox", "note", "offset"}
    assert len(cursor.peek()) < 1100


def test_half_a_line_of_a_killed_run_is_cut_off(tmp_path):
    path = tmp_path / "alarms.jsonl"
    Outbox(path).add(alarm(0))
    whole = path.read_text()
    path.write_text(whole + '{"kind": "ala')
    outbox = Outbox(path)
    assert path.read_text() == whole and outbox.count == 1


def test_a_note_of_another_file_is_refused(tmp_path):
    outbox = Outbox(tmp_path / "alarms.jsonl")
    (tmp_path / "alarms.jsonl.hook.sent").write_text("999\n")
    with pytest.raises(DataError, match="delete the note"):
        Cursor(outbox, "hook")


@pytest.mark.parametrize("address", ["ftp://a/b", "http:///x", "example.org"])
def test_what_is_no_address_of_a_webhook_is_refused(address):
    with pytest.raises(ConfigError, match="http:// or https://"):
        Webhook(address)


def test_names_of_receivers_hold_no_secret():
    webhook = Webhook("https://example.org/hooks/s3cr3t")
    assert "s3cr3t" not in webhook.name and webhook.name != Webhook("https://example.org/hooks/other").name


def test_the_table_has_a_row_an_alarm_and_goes_on(tmp_path):
    import pandas as pd

    outbox = Outbox(tmp_path / "alarms.jsonl")
    for number in range(2):  # two runs
        delivery = Delivery(outbox, AlarmTable(tmp_path / "alarms.csv"))
        culprit = {"track": "7", "cls": "car", "lane": "1", "speed_kmh": 3.5, "culprit": True}
        outbox.add({**alarm(number), "sentence": 'a, "b"', "vehicles": [culprit]})
        assert delivery.close()
    rows = pd.read_csv(tmp_path / "alarms.csv", dtype={"id": str})
    assert rows["id"].tolist() == ["000000", "000001"] and rows["sentence"].tolist() == ['a, "b"'] * 2
    assert rows["track"].tolist() == [7, 7] and tuple(rows.columns) == COLUMNS
