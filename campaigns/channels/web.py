"""Providers reached over HTTP: a window handed over at once, on connections kept open."""

import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import requests
import structlog
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from ..rendering import Outgoing
from ..templates import TemplateProblem
from .base import Outcome

log = structlog.get_logger(__name__)

CONNECTIONS = 8
# Seconds to connect, and to wait for each piece of the answer: together well inside a lease.
TIMEOUT = (5, 15)
SILENT_AFTER = 3  # Requests in a row without an answer; then nothing more is put in doubt.


class InDoubt(Exception):
    """The request left and no answer came: the provider may have taken the message."""


class WebProvider(ABC):
    """Hands messages over with one request each, up to CONNECTIONS at a time.

    What is written comes from the caller's thread, since it reads the database; the other threads only talk
    to the provider, each over a connection of its own.
    """

    name: str
    reports = True

    def __enter__(self) -> Self:
        self._crew = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix=self.name)
        self._own = threading.local()
        self._lines: list[Any] = []
        self._silences = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._crew.shutdown(cancel_futures=True)
        for line in self._lines:
            line.close()

    @abstractmethod
    def connect(self) -> Any:
        """A new line to the provider, for one thread; it has `close()`."""

    @abstractmethod
    def write(self, outgoing: Outgoing) -> Any:
        """What is to be handed over for a message; raises TemplateProblem."""

    @abstractmethod
    def hand_over(self, line: Any, outgoing: Outgoing, written: Any) -> Outcome:
        """Give one message to the provider; raises InDoubt when nobody knows whether it was taken."""

    def send(self, batch: list[Outgoing], *, deadline: float) -> Iterator[Outcome]:
        """See `Provider.send`: whatever is in doubt has no outcome.

        After some silence the rest is handed back as the provider's failure, which makes its breaker rest it.
        """
        if self._silences >= SILENT_AFTER:
            for outgoing in batch:
                yield Outcome(outgoing.id, "planned", "provider_error", "no answer to the last requests")
            return
        waiting = []
        for outgoing in batch:
            try:
                written = self.write(outgoing)
            except TemplateProblem as error:
                yield Outcome(outgoing.id, "failed", "rendering", str(error))
            else:
                waiting.append(self._crew.submit(self._try, outgoing, written, deadline))
        for future in waiting:
            outcome = future.result()
            self._silences = 0 if outcome else self._silences + 1
            if outcome:
                yield outcome

    def _try(self, outgoing: Outgoing, written: Any, deadline: float) -> Outcome | None:
        if time.monotonic() > deadline:
            return Outcome(outgoing.id, "planned")
        try:
            return self.hand_over(self._line(), outgoing, written)
        except InDoubt:
            return None
        except Exception:  # Not foreseen, so nobody knows; the rest of the window has its answers.
            log.exception("hand_over_failed", provider=self.name, message=outgoing.id)
            return None

    def _line(self) -> Any:
        if not hasattr(self._own, "line"):
            self._own.line = self.connect()
            self._lines.append(self._own.line)
        return self._own.line


def never_left(error: BaseException | None) -> bool:
    """Whether a failed request certainly did not reach the provider: no connection was ever made."""
    if isinstance(error, requests.ConnectTimeout | requests.exceptions.InvalidURL):
        return True
    reason = error.args[0] if isinstance(error, requests.ConnectionError) and error.args else None
    if isinstance(reason, MaxRetryError):
        reason = reason.reason
    if isinstance(reason, NewConnectionError | ConnectTimeoutError):
        return True
    return any(isinstance(one, ssl.SSLCertVerificationError) for one in getattr(reason, "args", ()))
