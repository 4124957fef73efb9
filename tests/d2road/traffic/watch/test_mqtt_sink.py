"""Alarms over MQTT, through a real broker on loopback."""

import json
import time

import pytest

from d2road.traffic.watch.delivery import Delivery
from d2road.traffic.watch.mqtt_sink import MqttSink
from d2road.traffic.watch.outbox import Outbox
from d2road.utils.errors import ConfigError
from tests.factories.alarm_receivers import MOSQUITTO, broker, free_port, wait_for

mqtt = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed (extra mqtt)")
with_broker = pytest.mark.skipif(MOSQUITTO is None, reason="mosquitto is not installed (Debian has it)")


def subscriber(port, topic, got):
    """A client that collects what is published, also what the broker kept for it while it was away."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="collector", clean_session=False)
    ready = []
    client.on_message = lambda _client, _data, message: got.append(json.loads(message.payload))
    client.on_subscribe = lambda *_: ready.append(True)
    client.connect("127.0.0.1", port)
    client.subscribe(topic, qos=1)
    client.loop_start()
    wait_for(lambda: ready)
    return client


@with_broker
def test_alarms_come_to_who_subscribes_in_order(tmp_path):
    port, got = free_port(), []
    outbox = Outbox(tmp_path / "alarms.jsonl")
    with broker(tmp_path, port):
        client = subscriber(port, "road/7/alarms", got)
        delivery = Delivery(outbox, MqttSink(f"mqtt://127.0.0.1:{port}/road/7/alarms"), 0.05)
        for number in range(10):
            outbox.add({"id": str(number)})
        assert delivery.close()
        wait_for(lambda: len(got) >= 10)
        client.disconnect()
        client.loop_stop()
    assert [one["id"] for one in got] == [str(number) for number in range(10)]


@with_broker
def test_nothing_is_lost_while_the_broker_is_away(tmp_path):
    port, got = free_port(), []

    def collect():
        client = subscriber(port, "d2road/alarms", got)
        time.sleep(0.2)
        client.disconnect()
        client.loop_stop()

    outbox = Outbox(tmp_path / "alarms.jsonl")
    with broker(tmp_path, port):
        collect()  # from now on the broker keeps messages for it
    delivery = Delivery(outbox, MqttSink(f"mqtt://127.0.0.1:{port}", timeout_s=2.0), 0.05)
    outbox.add({"id": "before"})
    wait_for(lambda: delivery.failures >= 1)
    with broker(tmp_path, port):
        wait_for(lambda: delivery.delivered == 1)
    outbox.add({"id": "meanwhile"})
    wait_for(lambda: delivery.failures >= 2)
    with broker(tmp_path, port):
        assert delivery.close()
        collect()
    assert [one["id"] for one in got] == ["before", "meanwhile"]


@pytest.mark.parametrize(
    ("address", "said"),
    [("mqtt:///x", "mqtt://"), ("mqtt://h:99999/x", "port"), ("mqtt://h/a/%23", "# and +"), ("amqp://h", "mqtt://")],
)
def test_addresses_that_cannot_be_are_refused(address, said):
    with pytest.raises(ConfigError, match=said):
        MqttSink(address)


def test_the_password_is_in_no_message():
    sink = MqttSink("mqtt://user:s3cr3t@127.0.0.1:1/x")
    with pytest.raises(Exception, match="no broker") as error:
        sink.deliver(b"{}\n")
    assert "s3cr3t" not in str(error.value) + sink.name
