"""A run's timeline in Chrome's trace-event format, which https://ui.perfetto.dev opens.

One track for each engine, a slice for each instruction: from when its waits for semaphores are over
to its retirement. The viewer's microsecond is a cycle.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from isa.files import whole_file
from isa.image import ProgramImage
from isa.table import Engine
from sim.cycle.record import CLASSES, Record
from sim.cycle.shares import layer_of


def events(image: ProgramImage, record: Record) -> Iterator[dict[str, object]]:
    """Tracks' names, then slices, `ts` and `dur` in cycles; those of a track do not overlap.

    Of the sequencer only its own instructions are shown, each with the cycles just before its
    retirement in which the sequencer could do nothing.
    """
    yield {"ph": "M", "pid": 0, "name": "process_name", "args": {"name": image.config.name}}
    for engine in Engine:
        name, tid = {"name": engine.name.lower()}, int(engine)
        yield {"ph": "M", "pid": 0, "tid": tid, "name": "thread_name", "args": name}
        yield {
            "ph": "M",
            "pid": 0,
            "tid": tid,
            "name": "thread_sort_index",
            "args": {"sort_index": tid},
        }
    ops = image.ops()
    columns = (record.pcs, record.engines, record.begin, record.end, record.classes)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for pc, engine, begin, end, classes in rows:
        node, mnemonic = image.node_of(pc), ops[pc].mnemonic
        spent = {name: count for name, count in zip(CLASSES, classes, strict=True) if count}
        yield {
            "ph": "X",
            "pid": 0,
            "tid": engine,
            "ts": begin,
            "dur": end - begin,
            "name": f"{mnemonic} {node}".strip(),
            "cat": layer_of(node) or "no layer",
            "args": {"instruction": pc, "node": node, "cycles": spent},
        }


def write_trace(path: Path, image: ProgramImage, record: Record) -> None:
    """The file, whole or not at all; OSError names it where it cannot be written."""
    with whole_file(path) as file:
        file.write(b'{"otherData": {"unit": "1 us is 1 cycle"}, "traceEvents": [\n')
        for index, event in enumerate(events(image, record)):
            file.write((",\n" * bool(index) + json.dumps(event)).encode())
        file.write(b"\n]}\n")
