"""Whether this process can do its work now: each thing it needs, asked within a few seconds."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from asgiref.sync import async_to_sync
from django.conf import settings
from health_check.base import HealthCheck
from health_check.checks import Database
from health_check.contrib.redis import Redis
from kombu import Connection
from redis.asyncio import Redis as RedisClient

PATIENCE = timedelta(seconds=3)  # The library adds a second: an answer comes within five.
_threads = ThreadPoolExecutor(max_workers=4, thread_name_prefix="readiness")  # A hanging check waits here.


@dataclass(repr=False)
class Broker(HealthCheck):
    """Whatever rings the workers: Valkey, Redis or RabbitMQ."""

    def run(self) -> None:
        options = settings.CELERY_BROKER_TRANSPORT_OPTIONS
        with Connection(settings.CELERY_BROKER_URL, transport_options=options) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=PATIENCE.seconds)


def _cache() -> RedisClient:
    seconds = PATIENCE.total_seconds()
    return RedisClient.from_url(settings.REDIS_URL, socket_connect_timeout=seconds, socket_timeout=seconds)


def _checks() -> dict[str, HealthCheck]:
    checks = {"database": Database(), "cache": Redis(client_factory=_cache), "broker": Broker()}
    for check in checks.values():
        check.timeout = PATIENCE
    return checks


def failures() -> list[str]:
    """The names of what does not answer, none when all is well; the reasons are in the log."""
    return async_to_sync(_ask)(_checks())


async def _ask(checks: dict[str, HealthCheck]) -> list[str]:
    results = await asyncio.gather(*(check.get_result(_threads) for check in checks.values()))
    return [name for name, result in zip(checks, results, strict=True) if result.error]
