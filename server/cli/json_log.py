"""`JsonFormatter`: a log line as one JSON object, for programs that collect logs."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from models.secrets import Redactor

FIELDS = "fields"
"""A line's own figures are in this attribute of its record, or a function that returns them:
`logger.info(…, extra={"fields": {…}})`.
"""


class JsonFormatter(logging.Formatter):
    """Makes objects with `time` (UTC), `level`, `logger`, `message`, the line's own fields, and `exception`.

    Secrets are taken out of each text before it is encoded, so what is left is always JSON.
    """

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        fields = getattr(record, FIELDS, {})
        for name, value in (fields() if callable(fields) else fields).items():
            line.setdefault(name, self._redact(value) if isinstance(value, str) else value)
        if record.exc_info:
            line["exception"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)
