"""Twilio's Messages resource as its documentation describes it, callbacks signed with the real scheme.

https://www.twilio.com/docs/messaging/api/message-resource, https://www.twilio.com/docs/usage/security
"""

import hmac
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit
from uuid import uuid4

import requests

from .server import Behaviour, FakeServer, Fault

_ERRORS = {
    20003: (401, "Authenticate"),
    20429: (429, "Too Many Requests"),
    20500: (500, "Internal Server Error"),
    21211: (400, "The 'To' number is not a valid phone number."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
}


@dataclass(frozen=True)
class Callback:
    """One signed POST, ready to be made any number of times."""

    url: str
    fields: dict[str, str]
    headers: dict[str, str]

    def post(self) -> int:
        return requests.post(self.url, data=self.fields, headers=self.headers, timeout=10).status_code


class FakeTwilio(FakeServer):
    """`behave` says what to do with a text: accept, an error code, hang, drop or gateway."""

    def __init__(self) -> None:
        super().__init__()
        self.account, self.token = "AC" + "0" * 32, "the auth token"
        self.behave: Behaviour = lambda form: "accept"
        self.texts: dict[str, dict[str, Any]] = {}
        self.page_size_asked = 0

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, Any, Mapping[str, str]]:
        sort, _, given = headers.get("Authorization", "").partition(" ")
        if sort != "Basic" or b64decode(given).decode() != f"{self.account}:{self.token}":
            return self.error(20003)
        where = urlsplit(path)
        if where.path != f"/2010-04-01/Accounts/{self.account}/Messages.json":
            return 404, {"code": 20404, "message": "The requested resource was not found", "status": 404}, {}
        if method == "GET":
            return self.list(parse_qs(where.query))
        assert headers["Content-Type"] == "application/x-www-form-urlencoded"
        return self.create(dict(parse_qsl(body.decode(), keep_blank_values=True)))

    def create(self, form: dict[str, str]) -> tuple[int, Any, Mapping[str, str]]:
        assert form["To"].startswith("+")
        assert form["Body"]
        assert ("From" in form) != ("MessagingServiceSid" in form)
        behaviour = self.behave(form)
        if behaviour.isdigit():
            return self.error(int(behaviour))
        sid = "SM" + uuid4().hex
        text = {
            "account_sid": self.account,
            "sid": sid,
            "to": form["To"],
            "from": form.get("From"),
            "messaging_service_sid": form.get("MessagingServiceSid"),
            "body": form["Body"],
            "status": "queued",
            "direction": "outbound-api",
            "num_segments": "1",
            "price": None,
            "price_unit": "USD",
            "error_code": None,
            "error_message": None,
            "date_sent": None,
            "callback": form.get("StatusCallback", ""),
        }
        with self.lock:
            self.texts[sid] = text
        if behaviour in ("hang", "drop"):
            raise Fault(behaviour)
        if behaviour == "gateway":
            return 504, b"<html>Gateway Timeout</html>", {}
        return 201, {key: value for key, value in text.items() if key != "callback"}, {}

    def list(self, asked: dict[str, Any]) -> tuple[int, Any, Mapping[str, str]]:
        size, page = int(asked.get("PageSize", ["50"])[0]), int(asked.get("Page", ["0"])[0])
        self.page_size_asked = size
        rows = [
            {key: value for key, value in text.items() if key != "callback"} for text in self.texts.values()
        ]
        size = min(size, 2)  # Small pages, so that there are some.
        following = f"/2010-04-01/Accounts/{self.account}/Messages.json?Page={page + 1}"
        has_more = len(rows) > (page + 1) * size
        said = {
            "messages": rows[page * size : (page + 1) * size],
            "page": page,
            "next_page_uri": following if has_more else None,
        }
        return 200, said, {}

    def price(self, sid: str, price: str, *, segments: str = "1") -> None:
        """Twilio got round to the bill."""
        self.texts[sid] |= {
            "price": price,
            "num_segments": segments,
            "date_sent": format_datetime(datetime.now(UTC)),
        }

    def callback(self, sid: str, status: str, error_code: int | None = None) -> Callback:
        """What Twilio posts to the StatusCallback of a text."""
        text = self.texts[sid]
        text["status"], text["error_code"] = status, error_code
        fields = {
            "AccountSid": self.account,
            "ApiVersion": "2010-04-01",
            "From": text["from"] or "",
            "MessageSid": sid,
            "MessageStatus": status,
            "SmsSid": sid,
            "SmsStatus": status,
            "To": text["to"],
        }
        if error_code:
            fields["ErrorCode"] = str(error_code)
        signature = sign(self.token, text["callback"], fields)
        return Callback(text["callback"], fields, {"X-Twilio-Signature": signature})

    @staticmethod
    def error(code: int) -> tuple[int, Any, Mapping[str, str]]:
        status, message = _ERRORS[code]
        more = f"https://www.twilio.com/docs/errors/{code}"
        return status, {"code": code, "message": message, "more_info": more, "status": status}, {}


def sign(token: str, url: str, fields: Mapping[str, str]) -> str:
    """The address, then each field and its value, in the order of their names; HMAC-SHA1 in base64."""
    signed = url + "".join(name + fields[name] for name in sorted(fields))
    return b64encode(hmac.digest(token.encode(), signed.encode(), "sha1")).decode()
