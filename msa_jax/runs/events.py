"""TensorBoard events of a run, written at once.

tensorboardX's own writer has a thread that waits by the clock on the wall: when that is
set back by weeks, its queue fills up and training waits for good.
"""

import socket
import struct
import time
from pathlib import Path


class Events:
    """Collects scalars and appends them to one event file; none is left open."""

    def __init__(self, folder: Path):
        """Start a file in a folder; older ones there are removed."""
        # Protocol buffers make their classes when they are imported.
        from tensorboardX.proto.event_pb2 import Event  # type: ignore

        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("events.*"):
            old.unlink()
        now = time.time()
        self._path = folder / f"events.out.tfevents.{now:.0f}.{socket.gethostname()}"
        self._event, self._waiting = Event, []
        self._add(file_version="brain.Event:2", wall_time=now)
        self.flush()

    def scalar(self, tag: str, value: float, step: int) -> None:
        """Add a finite number."""
        from tensorboardX.summary import scalar

        self._add(wall_time=time.time(), step=step, summary=scalar(tag, value))

    def flush(self) -> None:
        """Write what was added."""
        with open(self._path, "ab") as file:
            file.write(b"".join(self._waiting))
        self._waiting.clear()

    def _add(self, **fields) -> None:
        """Frame an event: its length, a sum of that, the event, a sum of that."""
        from tensorboardX.record_writer import masked_crc32c

        content = self._event(**fields).SerializeToString()
        length = struct.pack("<Q", len(content))
        sums = (struct.pack("<I", masked_crc32c(part)) for part in (length, content))
        first, second = sums
        self._waiting.append(length + first + content + second)
