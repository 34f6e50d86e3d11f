"""Architectural counters: what every back end must count alike, in one order."""

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
}
COUNTER_BITS = 32  # wraps
