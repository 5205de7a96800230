"""TensorBoard's files: every scalar is there, without a thread or a queue."""

import struct
import threading
import time

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from msa_jax.runs.events import Events


def records(path):
    """Yield what an event file holds: length, its sum, the event, its sum."""
    content = path.read_bytes()
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = content[12 : 12 + length]
        sums = content[8:12], content[12 + length : 16 + length]
        for part, said in zip((content[:8], event), sums, strict=True):
            assert struct.unpack("<I", said) == (masked_crc32c(part),)
        yield Event.FromString(event)
        content = content[16 + length :]


def test_scalars_are_in_the_file_at_once(tmp_path, monkeypatch):
    threads = threading.active_count()
    folder = tmp_path / "seed_1"
    folder.mkdir()
    (folder / "events.out.old").write_text("old")
    events = Events(folder)
    for step in range(40):
        monkeypatch.setattr(time, "time", lambda s=step: 2e9 - 40 * 86400 * s)
        events.scalar("valid/loss", step / 4, step)
    events.flush()
    (path,) = folder.iterdir()
    found = [(e.step, e.summary.value) for e in records(path)][1:]
    assert [step for step, _ in found] == list(range(40))
    assert [value[0].simple_value for _, value in found] == [s / 4 for s in range(40)]
    assert {value[0].tag for _, value in found} == {"valid/loss"}
    assert threading.active_count() == threads
