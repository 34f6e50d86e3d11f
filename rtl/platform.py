"""The target for which hardware is elaborated, and modules that are emitted once."""

from collections.abc import Callable

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal, Value, ValueCastable
from amaranth.hdl._ir import PortDirection
from amaranth.lib import wiring


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
    """Add submodule ``name``, one of many equal ones that ``make`` makes: inputs in, outputs out,
    both by the names of `flat_ports`.

    Elaborating a component costs far more than referring to it: for SystemVerilog, all that share
    the name ``module`` are instances of one emitted module, connected without wires in between. In
    Amaranth's simulator each is a component of its own.
    """
    if not is_asic(platform):
        m.submodules[name] = component = make()
        ports = flat_ports(component)
        m.d.comb += [ports[port][0].eq(value) for port, value in inputs.items()]
        return {port: ports[port][0] for port in _outputs(ports)}
    if module not in platform.modules:
        platform.modules[module] = make()
    ports = flat_ports(platform.modules[module])
    outputs = {p: Signal(ports[p][0].shape(), name=f"{name}_{p}") for p in _outputs(ports)}
    connections = {f"i_{port}": value for port, value in inputs.items()}
    connections |= {f"o_{port}": value for port, value in outputs.items()}
    m.submodules[name] = Instance(module, i_clk=ClockSignal(), i_rst=ResetSignal(), **connections)
    return outputs


def _outputs(ports: dict[str, tuple[Value, PortDirection]]) -> list[str]:
    return [name for name, (_, direction) in ports.items() if direction is PortDirection.Output]


def flat_ports(component: wiring.Component) -> dict[str, tuple[Value, PortDirection]]:
    """Port name → (value, direction), as `rtlil.convert` takes them; the name is the path of the
    signature's member, joined by underscores. ValueError when two have one name."""
    ports: dict[str, tuple[Value, PortDirection]] = {}
    for path, member, value in component.signature.flatten(component):
        name = "_".join(str(part) for part in path)
        if name in ports:
            raise ValueError(f"two ports of {type(component).__name__} are named {name!r}")
        if isinstance(value, ValueCastable):
            value = value.as_value()
        if isinstance(value, Value):
            is_input = member.flow == wiring.In
            ports[name] = (value, PortDirection.Input if is_input else PortDirection.Output)
    return ports
