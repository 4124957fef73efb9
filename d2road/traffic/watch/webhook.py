"""Webhook: an alarm as the JSON body of an HTTP POST."""

import email.utils
import hashlib
import json
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from urllib.parse import urlsplit

from d2road.traffic.watch.delivery import NotDeliveredError, RefusedError
from d2road.utils.errors import ConfigError

TIMEOUT_S = 10.0
# Answers of a client's error after which the same alarm may be taken another time.
LATER = (401, 403, 404, 408, 409, 425, 429)


class Webhook:
    """Posts alarms to an address.

    The header Idempotency-Key is the alarm's id: a receiver that keeps it knows an alarm that comes twice. Any answer
    of 200 to 299 is taken for received. 400 and the like refuse an alarm for good; 401, 403, 404 and 429 may be a
    receiver that is being set up, and are tried again.

    Args:
        address: http:// or https://.
        headers: sent too, as for authorisation.
    Raises:
        ConfigError: no such address.
    """

    def __init__(self, address: str, headers: dict[str, str] | None = None, timeout_s: float = TIMEOUT_S):
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"a webhook is an address of http:// or https://, got {address!r}")
        self.address, self.headers, self.timeout_s = address, dict(headers or {}), timeout_s
        # Two addresses of one host keep their own notes of what was delivered; a path may hold a secret.
        self.name = f"webhook-{parts.hostname}-{hashlib.sha256(address.encode()).hexdigest()[:8]}"

    def deliver(self, line: bytes) -> None:
        """Post one alarm; see `AlarmReceiver`."""
        identity = str(json.loads(line).get("id", ""))
        headers = {"Content-Type": "application/json", "Idempotency-Key": identity, **self.headers}
        request = urllib.request.Request(self.address, line, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            with error:
                wait = _asked_wait(error.headers.get("Retry-After"))
            message = f"the answer is {error.code} {error.reason}"
            if 400 <= error.code < 500 and error.code not in LATER:
                raise RefusedError(message) from error
            raise NotDeliveredError(message, wait) from error
        except (OSError, HTTPException) as error:  # URLError is one of the first
            reason = getattr(error, "reason", None) or error
            raise NotDeliveredError(f"no answer ({reason})") from error

    def close(self) -> None:
        """Nothing to let go of: a post is a connection of its own."""


def _asked_wait(header: str | None) -> float | None:
    """Seconds of a Retry-After: a number, or a date."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
