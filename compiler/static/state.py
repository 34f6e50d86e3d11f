"""What the handlers of operators share: the machine, guards, values made into arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from compiler.errors import CompileError
from compiler.static.arithmetic import absolute
from compiler.static.machine import Array, Block, Machine, Operand
from compiler.static.move import move
from compiler.static.values import (
    LARGEST_EXACT,
    Known,
    NeedsValues,
    Shape,
    Value,
    moved,
    origins,
    supported,
    to_fp32,
    type_name,
    whole,
)
from isa.config import HBM_ATOM_BYTES
from isa.iomap import Guard

Body = Callable[..., Block]  # of a machine and blocks or numbers


@dataclass
class State:
    """One compilation."""

    machine: Machine
    source: str
    guards: list[Guard] = field(default_factory=list)
    where: str = ""  # the node at work
    _arrays: dict[int, tuple[Value, Array]] = field(default_factory=dict)

    def refuse(self, problem: str) -> CompileError:
        """An error that names the node."""
        return CompileError(f"{self.source}: {self.where}", problem)

    def known(self, value: Value, what: str) -> np.ndarray:
        """A value that must be known at compile time."""
        if isinstance(value, Known):
            return value.array
        if value.origins:
            raise NeedsValues(value.origins, f"{self.where}: {what}")
        raise self.refuse(f"{what} must be known at compile time")

    def array(self, value: Value) -> Array:
        """The value in HBM."""
        if id(value) in self._arrays:
            return self._arrays[id(value)][1]
        if isinstance(value, Known):
            try:
                made = self.machine.place("constant", to_fp32(value.array, value.elem_type))
            except ValueError as error:
                raise self.refuse(f"{error}, which fp32 does not hold exactly") from None
        else:
            made = move(self.machine, value.roots, value.index, "moved")
        self._arrays[id(value)] = (value, made)
        return made

    def broadcast(self, value: Value, shape: Shape) -> Value:
        """As ONNX does, without a movement yet."""
        if value.shape == shape:
            return value
        return moved(value, lambda x: np.broadcast_to(x, shape))

    def elementwise(self, body: Body, operands: Sequence[Array | float], size: int) -> Array:
        """``body`` of numbers and of arrays of one size, a chunk at a time."""
        machine = self.machine
        out = machine.reserve("result", size)
        for first in range(0, size, machine.chunk):
            count = min(machine.chunk, size - first)
            loaded: dict[int, Block] = {}
            blocks: list[Operand] = []
            for each in operands:
                if isinstance(each, Array) and id(each) not in loaded:
                    loaded[id(each)] = machine.load(each, first, 1, count, count)
                blocks.append(loaded[id(each)] if isinstance(each, Array) else each)
            machine.store(body(machine, *blocks), out, first, count)
        return out

    def apply(
        self,
        body: Body,
        values: Sequence[Value],
        elem_type: int,
        shape: Shape | None = None,
    ) -> Value:
        """``body`` of values that are broadcast to one shape; numbers are immediates."""
        shape = np.broadcast_shapes(*(v.shape for v in values)) if shape is None else shape
        if 0 in shape:
            return self.empty(shape, elem_type)
        operands: list[Array | float] = []
        for value in values:
            if isinstance(value, Known) and value.array.size == 1:
                operands.append(self._immediate(value))
            else:
                operands.append(self.array(self.broadcast(value, shape)))
        if all(isinstance(each, float) for each in operands):
            operands[0] = self.array(self.broadcast(values[0], shape))
        made = self.elementwise(body, operands, int(np.prod(shape)))
        return whole(made, shape, elem_type, origins(values))

    def _immediate(self, value: Known) -> float:
        try:
            return float(to_fp32(value.array, value.elem_type).reshape(()))
        except ValueError as error:
            raise self.refuse(f"{error}, which fp32 does not hold exactly") from None

    def empty(self, shape: Shape, elem_type: int) -> Known:
        """A value without numbers."""
        dtype = onnx.helper.tensor_dtype_to_np_dtype(elem_type)
        return Known(np.zeros(shape, dtype), elem_type)

    def guard(self, block: Block, limit: float, problem: str) -> None:
        """Let the program note the largest magnitude in one row; NaN is beyond every limit."""
        machine = self.machine
        place = machine.reserve("guard", HBM_ATOM_BYTES // 4)
        column = machine.reduce("vrmax", absolute(machine, block))
        machine.store(column, place, 0, 1)
        self.guards.append(Guard(place.address, limit, f"{self.where}: {problem}"))

    def guard_array(self, array: Array, limit: float, problem: str) -> None:
        """`guard` for a whole array."""
        for first in range(0, array.size, self.machine.chunk):
            count = min(self.machine.chunk, array.size - first)
            self.guard(self.machine.load(array, first, 1, count, count), limit, problem)

    def guard_exact(self, block: Block, elem_type: int) -> None:
        """Integers must be exact in fp32."""
        problem = f"a number of type {type_name(elem_type)} is not below 2^24, where fp32 is exact"
        self.guard(block, LARGEST_EXACT, problem)

    def check_type(self, elem_type: int) -> None:
        if not supported(elem_type):
            raise self.refuse(f"numbers of type {type_name(elem_type)}")
