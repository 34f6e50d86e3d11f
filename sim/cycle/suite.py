"""Programs and chips on which the cycle model is compared with the RTL.

Random programs of all engines at once and of one engine alone, and matrix products, are made for
any chip; programs by hand and compiled models are added where their chips fit. Half of all programs
is held out: whoever works on the model looks at the other half only.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from isa.assembler import assemble_file
from isa.config import ChipConfig
from isa.image import ProgramImage
from isa.program import Op, encode_program
from sim.cycle.measure import Situation
from sim.cycle.products import product
from sim.functional import FunctionalCore
from sim.fuzz_case import Case
from sim.fuzz_maker import ProgramMaker
from sim.fuzz_operands import Made, OperandMaker
from sim.host import Host

# Every element type, R = C and not, several SRAMs, ports and queues, all generations of HBM.
CHIPS = (
    "tiny",
    "tiny,hbm=hbm2e,sram_bytes=65536,sram_banks=2",
    "tiny,hbm=hbm3e,hbm_refresh=bank,hbm_depth=16,queue_depth=2,lanes=4",
    "tiny,hbm=hbm4,element=fp8,rows=4,cols=16,line_bytes=128,axi_bytes=128,hbm_channels=4",
    "tiny,element=int8,rows=16,cols=4,lanes=4,axi_bytes=16,load_bursts=3,burst_beats=8",
    "small",
)
_FIRST_SEED = 7000  # of this suite's programs: no other test has them
_PHASES = 12  # at most
_COMMANDS = 60  # of a program of one engine


@dataclass(frozen=True)
class Entry:
    """A program on a chip. ``held_out``: nobody looked at it while the model was made."""

    program: str
    held_out: bool
    situation: Callable[[], Situation]


def random_entries(config: ChipConfig, count: int) -> Iterator[Entry]:
    """So many random programs; of five, one has all engines at work and the others one alone."""
    makers = {"all": _all_engines, **{name: _one_engine(name) for name in _ENGINES}}
    names = list(makers)
    for index in range(count):
        name, seed = names[index % len(names)], _FIRST_SEED + index

        case = Case(config, makers[name](config, seed), seed)
        held_out = (index // len(names)) % 2 == 1
        yield Entry(f"random, {name} {seed}", held_out, partial(Situation.of_case, case))


def _all_engines(config: ChipConfig, seed: int) -> bytes:
    maker = ProgramMaker(config, seed)
    return maker.structure(1 + seed % _PHASES).lower().code()


_ENGINES: dict[str, Callable[[OperandMaker, range, range], Made]] = {
    "load": lambda make, sram, acc: make.load_or_gather(sram),
    "store": lambda make, sram, acc: make.dma("store", sram),
    "matrix": lambda make, sram, acc: make.matmul(sram, acc),
    "vector": lambda make, sram, acc: make.vector(sram, acc),
}


def _one_engine(name: str) -> Callable[[ChipConfig, int], bytes]:
    def make(config: ChipConfig, seed: int) -> bytes:
        dice = random.Random(seed)
        maker = OperandMaker(config, dice)
        sram, acc = range(config.sram_bytes), range(config.acc_rows)
        made = [_ENGINES[name](maker, sram, acc) for _ in range(_COMMANDS)]
        ops = [op for command in made for op in (command.ahead, command.op) if op]
        return encode_program([*ops, Op("halt")])

    return make


def written_entries(folder: Path, config: ChipConfig) -> Iterator[Entry]:
    """The assembly programs of ``folder`` that are for this chip, whatever its memory."""
    for index, path in enumerate(sorted(folder.glob("*.s"))):
        image = assemble_file(path)
        if image.config.digest() != config.digest():
            continue
        image = ProgramImage(**{**vars(image), "config": config})

        situation = Situation(image, image.memory())
        yield Entry(path.name, index % 2 == 1, partial(_same, situation))


def product_entries(config: ChipConfig) -> Iterator[Entry]:
    """Matrix products from HBM to HBM: of long and short tiles, of one row."""
    rows = config.acc_rows // 2
    sizes = ((rows, 4, 2), (rows // 3 + 1, 3, 5), (5, 7, 4), (1, 16, 6))
    for index, (m, tiles, panels) in enumerate(sizes):
        try:
            image = product(config, m, tiles, panels)
        except ValueError:  # the SRAM is too small for it
            continue
        situation = Situation(image, image.memory())
        yield Entry(f"product {m}, {tiles}, {panels}", index % 2 == 1, partial(_same, situation))


def _same(situation: Situation) -> Situation:
    return situation


def model_entries(name: str, image: ProgramImage, counts: list[int], seed: int) -> Iterator[Entry]:
    """Launches of a compiled model with so many tokens each, each behind those before."""
    memory, core = image.memory(), FunctionalCore(image.config)
    core.load(image, memory)
    host, dice = Host(image, memory), np.random.default_rng(seed)
    for index, count in enumerate(counts):
        host.prepare(dice.integers(0, host.vocabulary, count))
        situation = Situation(image, memory.copy())
        program = f"{name}, {count} tokens after {host.past}"
        yield Entry(program, index % 2 == 1, partial(_same, situation))
        core.run()
        host.finish(count)
