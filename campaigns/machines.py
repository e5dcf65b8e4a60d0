"""Telling people from machines: who opens a mail or follows a link before anybody has read it.

Every sign has a weight; from 50 points of 100 on, an act counts as a machine's. No single rule is sure, so
the score and the signs are kept, and figures show both kinds apart.

- Programs say who they are: crawlerdetect knows robots, libraries and link previews, ua-parser tells the
  mail programs among what it takes for robots (Outlook's own name contains a word of theirs), and the gates
  of companies are named here.
- Apple's Mail Privacy Protection loads every picture of every mail through Apple's relays, read or not, and
  says nothing but "Mozilla/5.0": such an opening tells nothing of the person.
- Gmail, Yahoo and others load pictures through their proxies, but when the reader looks: a person opened it,
  although we see the proxy and, where it keeps the picture, never the second time.
- Scanners come within moments of sending, ask for the head only, or follow every link of a mail
  (campaigns.tracking notices the last one afterwards).
"""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache

from crawlerdetect import CrawlerDetect
from django.http import HttpRequest
from ua_parser import parse_device, parse_user_agent

from .models import Sign

MACHINE_FROM = 50
WEIGHTS: dict[str, int] = {
    Sign.ROBOT: 100,
    Sign.HEAD: 100,
    Sign.PREFETCH: 100,
    Sign.APPLE_PRIVACY: 100,
    Sign.REPORTED: 100,
    Sign.EVERY_LINK: 100,
    Sign.NO_AGENT: 60,
    Sign.UNKNOWN_AGENT: 30,
    Sign.PROXY: 0,
}
# Nobody reads a mail this fast; hardly anybody this fast.
TOO_SOON = ((timedelta(seconds=3), 60), (timedelta(seconds=10), 30))

_APPLE_PRIVACY = "Mozilla/5.0"
# Families of ua-parser.
_MAIL_PROGRAMS = {
    "Airmail",
    "Apple Mail",
    "Barca",
    "Lotus Notes",
    "Outlook",
    "Outlook-iOS",
    "Postbox",
    "Spark",
    "The Bat!",
    "Thunderbird",
    "Windows Live Mail",
    "Windows Mail",
}
_IMAGE_PROXIES = {"GmailImageProxy", "YahooMailProxy"}
_IMAGE_PROXY = re.compile(r"ImageProxy|MailProxy", re.I)
_MS_OFFICE = re.compile(r"ms-office|MSOffice", re.I)  # How Outlook on Windows asks for pictures.
# Guards of company mail that crawlerdetect does not know, and Gmail's own look at a mail as it arrives.
_GATES = re.compile(
    r"barracuda|bitdefender|checkmark|checkpoint|cisco ?secure|clearswift|cloudmark|fireeye|forcepoint|forti"
    r"|f-secure|ironport|kaspersky|messagelabs|mimecast|proofpoint|safe ?links|sophos|symantec|tmes|trellix"
    r"|trend ?micro|trustwave|urldefense|vade|zscaler|Edge/12\.246 Mozilla/5\.0$",
    re.I,
)


@dataclass(frozen=True, slots=True)
class Visit:
    """How somebody came to open a mail or to follow a link; `after` is how long since it was sent."""

    agent: str = ""
    method: str = "GET"
    purpose: str = ""
    after: timedelta | None = None
    is_open: bool = False
    is_reported: bool = False  # Whoever told us says it was a machine.


@dataclass(frozen=True, slots=True)
class Verdict:
    """How surely it was a machine, of 100, and by which signs."""

    score: int = 0
    signs: list[str] = field(default_factory=list)

    @property
    def is_machine(self) -> bool:
        return self.score >= MACHINE_FROM


def judge(visit: Visit) -> Verdict:
    """Weigh everything that speaks for a machine."""
    signs = [
        *_signs_of_agent(visit.agent, is_open=visit.is_open),
        *([Sign.HEAD] if visit.method == "HEAD" else []),
        *([Sign.PREFETCH] if re.search("prefetch|preview", visit.purpose, re.I) else []),
        *([Sign.REPORTED] if visit.is_reported else []),
    ]
    score = sum(WEIGHTS[sign] for sign in signs)
    if weight := _weight_of_haste(visit.after):
        score += weight
        signs.append(Sign.TOO_SOON)
    return Verdict(min(score, 100), [str(sign) for sign in signs])


def visit_of(request: HttpRequest, *, after: timedelta | None, is_open: bool = False) -> Visit:
    """What a request of ours tells; nobody's address is looked at."""
    asked = ("Sec-Purpose", "Purpose", "X-Purpose", "X-Moz")
    return Visit(
        agent=request.headers.get("User-Agent", ""),
        method=request.method or "",
        purpose=" ".join(request.headers.get(name, "") for name in asked),
        after=after,
        is_open=is_open,
    )


def _weight_of_haste(after: timedelta | None) -> int:
    if after is None:
        return 0
    return next((weight for limit, weight in TOO_SOON if after <= limit), 0)


@lru_cache(maxsize=4096)
def _signs_of_agent(agent: str, *, is_open: bool) -> tuple[Sign, ...]:
    agent = agent.strip()[:500]
    if agent == _APPLE_PRIVACY and is_open:
        return (Sign.APPLE_PRIVACY,)
    if not agent or agent == _APPLE_PRIVACY:
        return (Sign.NO_AGENT,)
    if _GATES.search(agent):
        return (Sign.ROBOT,)
    program = parse_user_agent(agent)
    family = program.family if program else ""
    if is_open and (family in _IMAGE_PROXIES or _IMAGE_PROXY.search(agent)):
        return (Sign.PROXY,)
    if family in _MAIL_PROGRAMS or _MS_OFFICE.search(agent):
        return ()
    device = parse_device(agent)
    is_spider = device is not None and device.family == "Spider"
    if is_spider or CrawlerDetect().is_crawler(agent):
        return (Sign.ROBOT,)
    return () if family or device else (Sign.UNKNOWN_AGENT,)
