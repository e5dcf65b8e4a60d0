"""What a log line may carry: ids, never a person's address."""

import re
from collections.abc import MutableMapping
from typing import Any

_EMAIL = re.compile(r"[^\s@'\"<>(=,:]+@[^\s@'\"<>),;]+")
_PHONE = re.compile(r"\+\d[\d ]{6,16}\d")


def hide_addresses(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor, the last before the line is written.

    We do not log addresses; an exception raised far away, such as "Key (email)=(…) already exists", may.
    """
    return {key: _hidden(value) for key, value in event.items()}


def _hidden(value: Any) -> Any:
    if isinstance(value, str):
        return _PHONE.sub("[phone]", _EMAIL.sub("[email]", value))
    if isinstance(value, dict):
        return {key: _hidden(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(part) for part in value]
    return value if isinstance(value, int | float | bool | None) else _hidden(str(value))
