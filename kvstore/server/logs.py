"""Log lines on standard error, as text for people or as one JSON object a line for machines."""

import json
import logging
import sys
from typing import Literal

__all__ = ["LogFormat", "configure"]

LogFormat = Literal["text", "json"]


class _JsonFormatter(logging.Formatter):
    def __init__(self, *, node_id: int) -> None:
        super().__init__()
        self._node_id = node_id

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "node": self._node_id,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def configure(*, level: str, log_format: LogFormat, node_id: int) -> None:
    """``level`` is one of logging's names in any case."""
    handler = logging.StreamHandler(sys.stderr)
    if log_format == "json":
        handler.setFormatter(_JsonFormatter(node_id=node_id))
    else:
        line = f"%(asctime)s.%(msecs)03d %(levelname)-7s node {node_id} %(name)s: %(message)s"
        handler.setFormatter(logging.Formatter(line, datefmt="%H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
