"""Resend as its documentation describes it: sending with idempotency keys, webhooks signed by Svix's scheme.

https://resend.com/docs/api-reference/emails/send-email, /docs/dashboard/emails/idempotency-keys,
/docs/webhooks/introduction, https://docs.svix.com/receiving/verifying-payloads/how-manual
"""

import hashlib
import hmac
import json
import re
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import requests

from .server import Behaviour, FakeServer, Fault

_ERRORS = {
    "401": (401, "restricted_api_key", "This API key is restricted to only send emails"),
    "403": (403, "validation_error", "The brand.example domain is not verified."),
    "422": (422, "validation_error", "Invalid `to` field. The email address needs to follow the format."),
    "429": (429, "rate_limit_exceeded", "Too many requests. You can only make 2 requests per second."),
    "500": (500, "internal_server_error", "Internal server error. We are unable to process your request."),
}


@dataclass(frozen=True)
class Webhook:
    """One signed POST, ready to be made any number of times."""

    url: str
    body: bytes
    headers: dict[str, str]

    def post(self) -> int:
        return requests.post(self.url, data=self.body, headers=self.headers, timeout=10).status_code


class FakeResend(FakeServer):
    """`behave` says what to do with a mail: accept, an HTTP status, hang or drop."""

    def __init__(self) -> None:
        super().__init__()
        self.api_key = "re_the_key"
        self.secret = "whsec_" + b64encode(b"a secret of twenty-four b").decode()
        self.webhook_url = ""
        self.behave: Behaviour = lambda mail: "accept"
        self.mails: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, tuple[str, str]] = {}

    def handle(self, method: str, path: str, body: bytes, headers: Any) -> tuple[int, Any, Mapping[str, str]]:
        if headers.get("Authorization") != f"Bearer {self.api_key}":
            return self.error("401")
        assert (method, path) == ("POST", "/emails")
        mail = json.loads(body)
        assert mail.keys() >= {"from", "to", "subject", "html", "text"}
        assert all(re.fullmatch(r"[\w-]{1,256}", tag["value"], re.A) for tag in mail.get("tags", []))
        behaviour = self.behave(mail)
        if behaviour.isdigit():
            return self.error(behaviour)
        key, digest = headers.get("Idempotency-Key", ""), hashlib.sha256(body).hexdigest()
        with self.lock:
            known = self._keys.get(key) if key else None
            if known and known[0] != digest:
                said = {"statusCode": 409, "name": "invalid_idempotent_request", "message": "Other payload."}
                return 409, said, {}
            email_id = known[1] if known else str(uuid4())
            self.mails.setdefault(email_id, mail)
            self._keys[key or email_id] = (digest, email_id)
        if behaviour in ("hang", "drop"):
            raise Fault(behaviour)
        return 200, {"id": email_id}, {}

    def id_of(self, address: str) -> str:
        """The id of the only mail to an address."""
        [found] = [email_id for email_id, mail in self.mails.items() if mail["to"] == [address]]
        return found

    def webhook(self, email_id: str, kind: str, **data: Any) -> Webhook:
        """What Resend posts about a mail: kind is sent, delivered, bounced, complained, opened, clicked."""
        mail = self.mails[email_id]
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = {
            "type": f"email.{kind}",
            "created_at": moment,
            "data": {
                "email_id": email_id,
                "from": mail["from"],
                "to": mail["to"],
                "subject": mail["subject"],
                "created_at": moment,
                "tags": {tag["name"]: tag["value"] for tag in mail.get("tags", [])},
                **data,
            },
        }
        body = json.dumps(event).encode()
        return Webhook(self.webhook_url, body, self.sign(body))

    def sign(self, body: bytes, *, at: float | None = None, secret: str = "") -> dict[str, str]:
        event_id, stamp = f"msg_{uuid4().hex}", str(int(at or time.time()))
        key = b64decode((secret or self.secret).removeprefix("whsec_"))
        signature = hmac.digest(key, f"{event_id}.{stamp}.".encode() + body, "sha256")
        return {
            "Content-Type": "application/json",
            "svix-id": event_id,
            "svix-timestamp": stamp,
            "svix-signature": f"v1,{b64encode(signature).decode()}",
        }

    @staticmethod
    def error(code: str) -> tuple[int, Any, Mapping[str, str]]:
        status, name, message = _ERRORS[code]
        return status, {"statusCode": status, "name": name, "message": message}, {}
