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

COUNTER_BITS = 32  # wraps
