"""The target for which hardware is elaborated, and modules that are emitted once."""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Value, ValueCastable
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


def port_values(component: object, signature: wiring.Signature) -> dict[str, tuple]:
    """Port name → (member, value) of a component or interface; paths are joined by underscores."""
    ports: dict[str, tuple] = {}
    for path, member, value in signature.flatten(component):
        name = "_".join(str(part) for part in path)
        if name in ports:
            raise ValueError(f"two ports of {type(component).__name__} are named {name!r}")
        if isinstance(value, ValueCastable):
            value = value.as_value()
        if isinstance(value, Value):
            ports[name] = (member, value)
    return ports


def place(m: Module, platform: object, name: str, module: str, kind: type[wiring.Component]):
    """Submodule ``name`` of ``kind``, whose constructor takes nothing; returns its ports.

    Elaborating a component costs far more than referring to it: for SystemVerilog, all that are
    placed under one ``module`` name are instances of one emitted module. In Amaranth's simulator
    each is a component of its own.
    """
    if not is_asic(platform):
        m.submodules[name] = component = kind()
        return component
    if module not in platform.modules:
        platform.modules[module] = kind()
    signature = platform.modules[module].signature
    ports = signature.create(path=(name,))
    connections = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
    for port, (member, value) in port_values(ports, signature).items():
        connections[f"{'i' if member.flow == wiring.In else 'o'}_{port}"] = value
    m.submodules[name] = Instance(module, **connections)
    return ports
