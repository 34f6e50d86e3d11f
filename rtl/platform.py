"""The target for which hardware is elaborated, and modules that are emitted once."""

from collections.abc import Callable

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out


class AsicPlatform:
    """Marks elaboration to SystemVerilog: big memories become instances of SRAM macros.

    A component whose `elaborate` receives `None` is being simulated by Amaranth and must not
    contain an `Instance`; one that receives an `AsicPlatform` may. `is_asic` says which.

    ``modules``: components that the design refers to by name; `rtl.emit` emits each once.
    """

    def __init__(self) -> None:
        self.modules: dict[str, wiring.Component] = {}


def is_asic(platform: object) -> bool:
    """True when the design is emitted as SystemVerilog, False in Amaranth's simulator."""
    return isinstance(platform, AsicPlatform)


def place(
    m: Module,
    platform: object,
    name: str,
    module: str,
    make: Callable[[], wiring.Component],
    inputs: dict[str, Value],
) -> dict[str, Value]:
    """Add submodule ``name``, one of many equal ones that ``make`` makes: inputs in, outputs out.

    Elaborating a component costs far more than referring to it: for SystemVerilog, all that share
    the name ``module`` are instances of one emitted module, connected without wires in between. In
    Amaranth's simulator each is a component of its own.
    """
    if not is_asic(platform):
        m.submodules[name] = component = make()
        m.d.comb += [getattr(component, port).eq(value) for port, value in inputs.items()]
        members = component.signature.members.items()
        return {port: getattr(component, port) for port, member in members if member.flow == Out}
    if module not in platform.modules:
        platform.modules[module] = make()
    members = platform.modules[module].signature.members.items()
    outputs = {p: Signal(v.shape, name=f"{name}_{p}") for p, v in members if v.flow == Out}
    connections = {f"i_{port}": value for port, value in inputs.items()}
    connections |= {f"o_{port}": value for port, value in outputs.items()}
    m.submodules[name] = Instance(module, i_clk=ClockSignal(), i_rst=ResetSignal(), **connections)
    return outputs
