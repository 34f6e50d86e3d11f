"""What is mutated: each unit's tests, and how many bugs are planted into the designs they build."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Unit:
    """``tests``: pytest's names of the benches, ``choice``: which of them (as its -k);
    ``mutants``: shared by the designs they build, and planted into the modules that match
    ``modules``."""

    name: str
    tests: tuple[str, ...]
    mutants: int
    choice: str = ""
    modules: str = "*"
    simulator: str = "verilator"


# Window, guard and refreshes have benches of their own.
_OWN = ("reads*", "writes*", "scheduler")
_CONTROLLER = ("hbm_memory", "hbm_controller", *(f"hbm_controller.{name}" for name in _OWN))
UNITS = (
    Unit("processing element", ("tb/test_pe.py",), 36),
    Unit("array", ("tb/test_array.py",), 20, "bf16-8-4 or int8"),
    Unit("accumulators", ("tb/test_accumulator.py",), 24),
    Unit("matrix unit", ("tb/test_matrix.py",), 60, "8-4 or 4-8"),
    Unit("special functions", ("tb/test_special.py",), 24),
    Unit("vector unit", ("tb/test_vector.py",), 60),
    Unit("SRAM banks", ("tb/test_banks.py",), 20),
    Unit("DMA", ("tb/test_dma.py",), 36),
    Unit("memory port", ("tb/test_axi_mux.py",), 24),
    Unit("fetch", ("tb/test_fetch.py",), 24),
    Unit("dispatch", ("tb/test_dispatch.py",), 24),
    Unit("host registers", ("tb/test_csr.py",), 20, "registers"),
    Unit("legality", ("tb/test_legal.py",), 40),
    Unit("sequencer", ("tb/test_sequencer.py",), 40, "int8", "sequencer sequencer.[!l]*"),
    Unit("HBM pieces", ("tb/test_hbm_pieces.py",), 24),
    Unit("HBM port", ("tb/test_hbm_split.py",), 40),
    Unit("HBM window", ("tb/test_hbm_window.py",), 30),
    Unit("HBM guard", ("tb/test_hbm_guard.py",), 30),
    Unit("HBM refresh", ("tb/test_hbm_refresh.py",), 30),
    Unit("HBM controller", ("tb/test_hbm_controller.py",), 60, modules=" ".join(_CONTROLLER)),
    # What belongs to no unit: the others have benches of their own.
    Unit("core", ("tb/test_core.py",), 40, modules="Core Core.watchdog*"),
)
