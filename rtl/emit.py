"""SystemVerilog text of a component, by the Yosys that comes in a wheel.

`amaranth.back.verilog` writes `always @*`, which Icarus never runs at time 0, so that a
combinational output which depends on registers only stays X through reset; `write_verilog -sv`
writes `always_comb`. Ports are the signature's members, their path joined by one underscore: with
Amaranth's own two, Verilator would escape the names.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amaranth._toolchain.yosys import find_yosys
from amaranth.back import rtlil
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring

from rtl.naming import tuples_are_named
from rtl.platform import AsicPlatform, flat_ports

SRAM_MODEL = Path(__file__).with_name("sram.sv")
# What `amaranth.back.verilog` runs, up to the flags of the last command.
_READ = """\
read_rtlil <<rtlil
{rtlil}
rtlil
"""
_WRITE = """\
proc {processes} -norom
memory_collect
write_verilog -sv -norename {flags}
"""


def port_names(component: wiring.Component) -> list[str]:
    """Names of the emitted module's ports, in signature order, without clock and reset."""
    return list(flat_ports(component))


def input_names(component: wiring.Component) -> list[str]:
    """As `port_names`, those that are driven from outside."""
    ports = flat_ports(component).items()
    return [name for name, (_, direction) in ports if direction is PortDirection.Input]


def emit(
    component: wiring.Component, name: str, attributes: bool = False, muxes: bool = False
) -> str:
    """SystemVerilog of `component` as module `name`, elaborated for an `AsicPlatform`.

    With `attributes` the same text has more lines, `(* … *)`: the place in the Python source of
    what follows, and the names of the values of enumerations. With `muxes` it has conditional
    expressions instead of `always_comb`: Icarus 11 may never leave a point in time in which such
    blocks feed each other. That text is worse to read and to measure coverage on.

    What the component places (`rtl.platform.place`) becomes modules of its own. SRAM macros are
    referred to, not included. Raises ValueError when two modules have one name.
    """
    platform = AsicPlatform()
    with _collector_paused(), tuples_are_named():
        designs = {name: _rtlil(component, name, platform, attributes)}
        while waiting := platform.modules.keys() - designs.keys():  # a module may place others
            for module in sorted(waiting):
                designs[module] = _rtlil(platform.modules[module], module, platform, attributes)
    if name in platform.modules:
        raise ValueError(f"two emitted modules are named {name!r}")
    yosys = find_yosys(lambda found: found >= (0, 40))
    script = "".join(_READ.format(rtlil=text) for text in designs.values())
    flags = {"flags": "" if attributes else "-noattr", "processes": "" if muxes else "-nomux"}
    text = yosys.run(["-q", "-"], script + _WRITE.format(**flags), ignore_warnings=True)
    return text.replace("\\$procmux$", "procmux_")  # Icarus takes these for system functions


def _rtlil(component: wiring.Component, name: str, platform: object, sources: bool) -> str:
    ports = flat_ports(component)
    return rtlil.convert(component, name=name, platform=platform, ports=ports, emit_src=sources)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A netlist is millions of objects, nearly none of them garbage: looking for it costs a third
    of the time."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def write_design(component: wiring.Component, name: str, directory: str | Path) -> list[Path]:
    """Write NAME.sv and sram.sv to `directory` (made if needed); returns both paths.

    Raises ValueError for the name "sram", whose file the macros' models have.
    """
    if name == SRAM_MODEL.stem:
        raise ValueError(f"a design must not be named {name!r}: {SRAM_MODEL.name} holds the macros")
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    design, sram = folder / f"{name}.sv", folder / SRAM_MODEL.name
    design.write_text(emit(component, name))
    sram.write_text(SRAM_MODEL.read_text())
    return [sram, design]
