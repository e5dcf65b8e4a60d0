"""Telling people from machines: scanners and prefetchers open links that nobody clicked."""

import re

from django.http import HttpRequest

# What link scanners, unfurlers and libraries call themselves.
_AGENTS = re.compile(
    r"bot|crawl|spider|scan|preview|prefetch|proxy|monitor|curl|wget|python|java/|go-http|okhttp|libwww"
    r"|headless|barracuda|proofpoint|mimecast|safelinks|slack|whatsapp|telegram|facebookexternalhit",
    re.I,
)


def is_machine(request: HttpRequest) -> bool:
    """Whether a program followed a link: by its name, by only asking for the head, or ahead of time."""
    agent = request.headers.get("User-Agent", "")
    purpose = request.headers.get("Sec-Purpose", "") + request.headers.get("Purpose", "")
    return request.method == "HEAD" or not agent or "prefetch" in purpose or bool(_AGENTS.search(agent))
