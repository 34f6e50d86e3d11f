"""Core: the emitted module's interface. Its behaviour is tested in tests/tb and tests/sim."""

import re

from isa.config import load_config
from isa.counters import COUNTER_BITS, COUNTERS, CYCLE_CLASSES
from isa.table import Engine
from rtl.classes import CLASSES_LAYOUT
from rtl.emit import emit, port_names
from rtl.timing import ACC_BANKS
from rtl.top import CONTROL, COUNTERS_LAYOUT, Core

CONFIG = load_config("tiny").replace(rows=4, cols=4, lanes=4, sram_bytes=1 << 14, acc_rows=16)
CHANNELS = {
    "aw": "id addr len size burst valid ready",
    "w": "data strb last valid ready",
    "b": "id resp valid ready",
    "ar": "id addr len size burst valid ready",
    "r": "id data resp last valid ready",
}


def test_ports_have_the_names_of_axi4():
    names = {f"axi_{channel}{name}" for channel, part in CHANNELS.items() for name in part.split()}
    assert set(port_names(Core(CONFIG))) == names | set(CONTROL)


def test_counters_lie_in_the_order_of_the_table():
    places = [COUNTERS_LAYOUT[name].offset for name in COUNTERS]
    assert places == [COUNTER_BITS * index for index in range(len(COUNTERS))]


def test_classes_lie_engine_by_engine():
    places = [
        CLASSES_LAYOUT[engine.name.lower()].offset
        + CLASSES_LAYOUT[engine.name.lower()].shape[name].offset
        for engine in Engine
        for name in CYCLE_CLASSES
    ]
    assert places == [COUNTER_BITS * index for index in range(len(Engine) * len(CYCLE_CLASSES))]


def test_memories_are_macros():
    """Banks, the fetch buffer, and the column of accumulators, whose module is emitted once; no big
    memory is left as registers."""
    text = emit(Core(CONFIG), "Core")
    assert len(re.findall(r"\bjx_sram #\(", text)) == CONFIG.sram_banks
    assert len(re.findall(r"\bjx_sram_1r1w #\(", text)) == 1 + ACC_BANKS
    depths = [int(depth) for depth in re.findall(r"reg \[\d+:0\] \S+ \[(\d+):0\];", text)]
    assert max(depths) < 512  # the largest is the table of the special functions
