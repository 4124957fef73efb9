"""MQTT: an alarm as a message of quality of service 1, by paho-mqtt."""

import hashlib
from urllib.parse import unquote, urlsplit

from d2road.traffic.watch.delivery import NotDeliveredError
from d2road.utils.errors import ConfigError
from d2road.utils.optional_packages import require_package

PORTS = {"mqtt": 1883, "mqtts": 8883}
TOPIC = "d2road/alarms"
TIMEOUT_S = 10.0
KEEPALIVE_S = 30


class MqttSink:
    """Publishes alarms to a broker; a message counts as delivered when the broker has acknowledged it.

    Args:
        address: `mqtt://[USER:PASSWORD@]HOST[:PORT][/TOPIC]`, or mqtts:// with TLS; the topic is d2road/alarms without.
    Raises:
        ConfigError: no such address, or paho-mqtt is not installed.
    """

    def __init__(self, address: str, timeout_s: float = TIMEOUT_S):
        mqtt = require_package("paho.mqtt.client", "mqtt", "an MQTT sink")
        parts = urlsplit(address)
        if parts.scheme not in PORTS or not parts.hostname:
            raise ConfigError("a broker is an address mqtt://[USER:PASSWORD@]HOST[:PORT][/TOPIC], or mqtts://")
        self.host, self.topic = parts.hostname, unquote(parts.path.lstrip("/")) or TOPIC
        if "#" in self.topic or "+" in self.topic:
            raise ConfigError(f"MQTT topic {self.topic!r}: # and + are for those who subscribe; name one topic")
        try:
            self.port = parts.port or PORTS[parts.scheme]
        except ValueError as error:
            raise ConfigError(f"the port of the broker {self.host} is no number of 1 to 65535") from error
        digest = hashlib.sha256(f"{self.host}:{self.port}/{self.topic}".encode()).hexdigest()[:8]
        self.name, self.timeout_s = f"mqtt-{self.host}-{digest}", timeout_s
        self._mqtt = mqtt
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._running = False

    def deliver(self, line: bytes) -> None:
        """Publish one alarm and wait for the broker; see `AlarmReceiver`."""
        try:
            self._connect()
            sent = self._client.publish(self.topic, line.rstrip(b"\n"), qos=1)
            sent.wait_for_publish(self.timeout_s)
            arrived = sent.is_published()
        except (OSError, ValueError, RuntimeError) as error:
            self._disconnect()
            raise NotDeliveredError(f"no broker at {self.host}:{self.port} ({error})") from error
        if not arrived:
            self._disconnect()
            raise NotDeliveredError(f"the broker {self.host}:{self.port} did not acknowledge in {self.timeout_s:g} s")

    def _connect(self) -> None:
        if self._running and self._client.is_connected():
            return
        self._disconnect()
        self._client.connect(self.host, self.port, KEEPALIVE_S)
        self._client.loop_start()
        self._running = True

    def _disconnect(self) -> None:
        if self._running:
            self._client.disconnect()
            self._client.loop_stop()
            self._running = False

    def close(self) -> None:
        """End the connection."""
        self._disconnect()
