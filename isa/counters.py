"""Counters of the chip, in the order of all back ends."""

from isa.table import Engine

COUNTERS = {
    **{
        f"{name}_instructions": f"instructions that the {name} retired"
        for name in (engine.name.lower() for engine in Engine)
    },
    "load_lines": "SRAM lines written by the load engine",
    "store_lines": "SRAM lines read by the store engine",
    "matrix_rows": "activation rows that entered the array (M for each weight tile)",
    "vector_vectors": "vectors processed by the vector unit (rows times vectors of a row)",
}  # architectural: every back end counts them alike

CYCLE_CLASSES = {
    "busy": "worked: an element moved or was computed, or an instruction was issued",
    "operand": "waited for another part of the chip: a weight tile, an accumulator, a full queue",
    "semaphore": "waited for a semaphore",
    "bank": "an access to the SRAM was refused",
    "memory": "waited for memory: a beat, a response, an instruction",
    "idle": "had nothing to do",
}  # of time: in each cycle that a program runs, each engine is in exactly one of these

HBM_COUNTERS = {
    "reads": "columns of 32 bytes read",
    "writes": "columns written",
    "row_hits": "of them, those whose row had been used since it was opened",
    "row_misses": "rows opened",
    "row_conflicts": "rows closed because another one of the bank was wanted",
    "turnarounds": "changes from reads to writes and back",
    "refresh_cycles": "cycles in which a refresh was waited for or made",
    "ecc_corrected": "words of 8 bytes in which one bit was wrong",
}  # of all pseudo-channels together
HBM_LATENCY_EDGES = (32, 64, 128, 256, 512, 1024, 2048)  # cycles
HBM_LATENCIES = {
    **{
        f"latency_below_{edge}": f"read bursts of a controller that took less than {edge} cycles, "
        "and no less than the edge before"
        for edge in HBM_LATENCY_EDGES
    },
    "latency_above": f"those that took {HBM_LATENCY_EDGES[-1]} or more",
}
COUNTER_BITS = 32  # wraps
