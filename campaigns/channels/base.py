"""What every channel offers the dispatcher."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from ..rendering import Email, Outgoing


class Outcome(NamedTuple):
    """What became of one message. `planned` sends it back to wait for another try.

    The reason `provider_error` counts against the provider, and closes it for a while after many in a row.
    """

    message_id: int
    status: str  # sent, bounced, failed or planned
    reason: str = ""
    detail: str = ""
    ref: str = ""


class Provider(Protocol):
    """A connection to whoever carries the messages; entered once per run."""

    reports: bool  # Whether it tells later what became of a message.
    name: str  # What its breaker and its pace are kept under, and messages say who carried them.

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def send(self, batch: list[Outgoing], *, deadline: float) -> Iterable[Outcome]:
        """Send each message once, at most; past `deadline` (time.monotonic) hand the rest back as planned.

        A message without an outcome stays in doubt until its lease ends; then mail is sent again under the
        same Message-ID, and other channels park it as unknown.
        """
        ...


@dataclass(frozen=True)
class ChannelSpec:
    """A channel as the rest of the house sees it."""

    name: str
    icon: str
    provider: Callable[[], Provider]
    # (written, sender address, to) to an empty string, or why the test could not be sent.
    send_test: Callable[[Email | str, str, str], str]
