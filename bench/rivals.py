"""Other senders for Django, in an environment, a project and a database of their own."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import default
from functools import cache
from pathlib import Path

from omnicrm import embedded

from . import database
from .harness import Contestant, Options, Run
from .processes import BASE_DIR, Worker, environment_for, run_together

REQUIREMENTS = Path(__file__).parent / "peers" / "requirements.txt"
POST_OFFICE, MAILER = "django-post-office", "django-mailer"
WRITING = f"{POST_OFFICE}, writing as it sends"


@dataclass(frozen=True)
class Peer:
    """Who sends, by which module of `bench.peers`, with which settings of its own beyond its defaults."""

    name: str
    module: str
    settings: dict[str, int] = field(default_factory=dict)
    writes_late: bool = False  # Each mail from its template while sending, as ours; else before, when queued.
    full_rounds: int = 1  # How often it sends as many mails as we do; that takes minutes.


PEERS = [
    Peer(POST_OFFICE, "post_office", full_rounds=3),
    Peer(WRITING, "post_office", writes_late=True),
    # By default it starts new processes and connections for every hundred mails.
    Peer(f"{POST_OFFICE}, batches of 2,000", "post_office", {"BATCH_SIZE": 2_000}),
    Peer(MAILER, "mailer"),
]
_OUR_LINK = re.compile(r"/([cu])/[\w-]+")


def all_of(peer: str, mails: int) -> str:
    """What the contestant is called who sends so many mails, as we do, and not a few of them."""
    return f"{peer}: {mails:,}"


@contextmanager
def standing_by(
    mail: bytes, name: str, port: int, options: Options, *, few: int, many: int
) -> Iterator[list[Contestant]]:
    """Each peer with the same mails queued: `mail` is one of ours, to somebody called `name`.

    They send `few` a round, and in a full run `many` besides, in as many rounds as the peer is patient.
    """
    interpreter, why = environment()
    if why:
        yield [Contestant(peer.name, None, skipped=why) for peer in PEERS]
        return
    template = write_template(mail, name)
    with ExitStack() as stack:
        found = []
        for peer in PEERS:
            own_command = [interpreter, "-m", "bench.peers", peer.module, str(template)]
            run = stack.enter_context(_queued(peer, own_command, port, few))
            found.append(Contestant(peer.name, run))
            if options.full:
                run = stack.enter_context(_queued(peer, own_command, port, many))
                found.append(Contestant(all_of(peer.name, many), run, rounds=peer.full_rounds))
        yield found


@contextmanager
def _queued(peer: Peer, command: list[str], port: int, mails: int) -> Iterator[Callable[[int], Run]]:
    """A database of its own in which so many mails wait; the call sends them by the peer's own command."""
    with database.blank("bench_peer_" + re.sub(r"\W", "_", f"{peer.name}_{mails}")) as name:
        environment = environment_for(
            PEER_HOST=str(embedded.socket_dir(database.home())),
            PEER_DATABASE=name,
            PEER_PORT=str(port),
            PEER_SETTINGS=json.dumps(peer.settings),
            PEER_WRITES_LATE="1" if peer.writes_late else "",
        )
        subprocess.run([*command, "queue", str(mails)], check=True, cwd=BASE_DIR, env=environment)

        def send(number: int) -> Run:
            seconds, (answer,) = run_together([Worker([*command, "send"], environment)])
            if answer["sent"] != mails or answer["waiting"]:
                raise AssertionError(f"{peer.name} sent {answer['sent']} of {mails} mails.")
            return Run(mails, seconds, answer["cpu_seconds"], answer["peak_bytes"])

        yield send


def write_template(mail: bytes, name: str) -> Path:
    """One of our mails as a template: the person's name, and a token in each tracked link; the file."""
    parsed = message_from_bytes(mail, policy=default)
    html, text = parsed.get_body(("html",)), parsed.get_body(("plain",))
    assert html is not None
    assert text is not None
    sources = {"subject": str(parsed["Subject"]), "html": html.get_content(), "text": text.get_content()}
    template = {
        part: _OUR_LINK.sub(r"/\1/{{ token }}", source.replace(name, "{{ first_name }}"))
        for part, source in sources.items()
    }
    path = database.home() / "mail.json"
    path.write_text(json.dumps(template | {"sender": str(parsed["From"])}))
    return path


@cache
def environment() -> tuple[str, str]:
    """The interpreter of the peers' throw-away environment, or why there is none."""
    try:
        return _installed(), ""
    except (OSError, subprocess.SubprocessError) as error:
        return "", f"its packages cannot be installed here ({type(error).__name__})"


def _installed() -> str:
    """Made and filled on first use, and whenever what it holds is to be another."""
    folder = database.home() / "peers"
    interpreter = folder / "bin" / "python"
    done = folder / "installed.txt"
    if not done.exists() or done.read_text() != REQUIREMENTS.read_text():
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, capture_output=True)
        install: list[str | Path] = [interpreter, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", REQUIREMENTS], check=True, capture_output=True, timeout=300)
        done.write_text(REQUIREMENTS.read_text())
    return str(interpreter)
