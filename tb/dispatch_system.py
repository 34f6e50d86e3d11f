"""All dispatchers around the semaphore file, as in the core: what their bench runs on."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.table import Engine
from rtl.decode import FORMATS
from rtl.dispatch import Dispatcher, item_layout
from rtl.ports import command_layout
from rtl.semaphore import SemaphoreFile, SemaphorePort

ENGINES = [engine for engine in Engine if engine != Engine.SEQUENCER]
_OUTPUTS = ("idle", "waiting", "working", "retired")


class DispatchSystem(wiring.Component):
    """Members: for each engine `NAME_i`, `NAME_command`, `NAME_done` and the dispatcher's outputs;
    `enable` for all; `port` the sequencer's access to the semaphores; `clear` of the counters.
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        members = {"enable": In(1), "clear": In(1), "port": In(SemaphorePort())}
        for engine in ENGINES:
            name, fields = engine.name.lower(), FORMATS[engine]
            members[f"{name}_i"] = In(stream.Signature(item_layout(fields)))
            members[f"{name}_command"] = Out(stream.Signature(command_layout(fields)))
            members[f"{name}_done"] = In(1)
            members |= {f"{name}_{output}": Out(1) for output in _OUTPUTS}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.semaphores = semaphores = SemaphoreFile()
        wiring.connect(m, wiring.flipped(self.port), semaphores.ports[Engine.SEQUENCER])
        m.d.comb += semaphores.clear.eq(self.clear)
        for engine in ENGINES:
            name = engine.name.lower()
            m.submodules[name] = queue = Dispatcher(self._config, FORMATS[engine])
            wiring.connect(m, queue.semaphores, semaphores.ports[engine])
            wiring.connect(m, wiring.flipped(getattr(self, f"{name}_i")), queue.i)
            wiring.connect(m, wiring.flipped(getattr(self, f"{name}_command")), queue.command)
            m.d.comb += [queue.enable.eq(self.enable), queue.done.eq(getattr(self, f"{name}_done"))]
            m.d.comb += [getattr(self, f"{name}_{o}").eq(getattr(queue, o)) for o in _OUTPUTS]
        return m
