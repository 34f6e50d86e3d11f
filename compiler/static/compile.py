"""A graph of tensors of fixed shapes → a program image."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import onnx
from onnx import helper

from compiler import allocate, schedule
from compiler.assemble import assemble
from compiler.errors import CompileError
from compiler.importer import load_model
from compiler.importer_data import array_of
from compiler.static.machine import Machine
from compiler.static.state import State
from compiler.static.values import Known, NeedsValues, Shape, type_name, whole
from compiler.static.walk import Scope, Walk
from isa.config import ChipConfig
from isa.image import ProgramImage
from isa.iomap import Array as Slot, Guard, IoMap


def compile_static(
    model: onnx.ModelProto,
    config: ChipConfig,
    shapes: Mapping[str, Shape],
    fixed: Mapping[str, np.ndarray],
    source: str = "model",
) -> ProgramImage:
    """A program for inputs of these shapes.

    ``fixed``: values of inputs for which alone the program is made. NeedsValues names inputs that
    must be among them; CompileError what cannot be done.
    """
    state = State(_machine(config, source), source)
    state.where = "graph"
    scope: Scope = {"": None}
    slots = _inputs(model, state, shapes, fixed, scope)
    for tensor in model.graph.initializer:
        scope[tensor.name] = Known(array_of(tensor), tensor.data_type)
    Walk(state, model.opset_import, model.ir_version).nodes(model.graph.node, scope, {})
    slots += _outputs(model, state, scope)
    return _image(state, slots)


def compile_static_file(
    path: Path, config: ChipConfig, axes: Mapping[str, int] = MappingProxyType({})
) -> ProgramImage:
    """A program for an ONNX file; ``axes``: sizes of its symbolic axes by name."""
    model, source = load_model(path), str(path)
    given = {tensor.name for tensor in model.graph.initializer}
    shapes = {}
    for value in model.graph.input:
        if value.name not in given:
            dims = value.type.tensor_type.shape.dim
            names = [d.dim_param for d in dims if not d.HasField("dim_value")]
            if missing := [name or "without a name" for name in names if name not in axes]:
                where = f'{source}: input "{value.name}"'
                raise CompileError(where, f"its axis {missing[0]} has no size", "use --bind AXIS=N")
            shapes[value.name] = tuple(d.dim_value or axes.get(d.dim_param, 0) for d in dims)
    try:
        return compile_static(model, config, shapes, {}, source)
    except NeedsValues as need:
        problem = f"needs the value of input {', '.join(sorted(need.names))}"
        raise CompileError(f"{source}: {need}", problem, "make it an initializer") from None


def _machine(config: ChipConfig, source: str) -> Machine:
    if config.element != "bf16":
        raise CompileError(
            source,
            f"its products are computed in bf16, but the array of {config.name!r} multiplies "
            f"{config.element} values",
            'choose a --config with element = "bf16"',
        )
    return Machine(config)


def _inputs(
    model: onnx.ModelProto,
    state: State,
    shapes: Mapping[str, Shape],
    fixed: Mapping[str, np.ndarray],
    scope: Scope,
) -> list[Slot]:
    slots, given = [], {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        name = value.name
        if name in given:
            continue
        state.where = f'input "{name}"'
        if not value.type.HasField("tensor_type"):
            raise state.refuse(f"a {value.type.WhichOneof('value')}, which is not a tensor")
        kind = value.type.tensor_type.elem_type
        if name in fixed:
            scope[name] = Known(fixed[name], kind)
            slots.append(_slot(name, "fixed", 0, kind, fixed[name].shape, fixed[name]))
            continue
        state.check_type(kind)
        shape = tuple(shapes[name])
        if 0 in shape:
            scope[name] = state.empty(shape, kind)
            slots.append(_slot(name, "input", 0, kind, shape))
            continue
        array = state.machine.reserve(name, int(np.prod(shape)))
        scope[name] = whole(array, shape, kind, frozenset({name}))
        slots.append(_slot(name, "input", array.address, kind, shape))
    return slots


def _outputs(model: onnx.ModelProto, state: State, scope: Scope) -> list[Slot]:
    slots = []
    for value in model.graph.output:
        state.where = f'output "{value.name}"'
        if value.name not in scope or scope[value.name] is None:
            raise state.refuse("it is not defined")
        found = scope[value.name]
        assert found is not None
        wanted = value.type.tensor_type.elem_type
        if not value.type.HasField("tensor_type"):
            raise state.refuse("it is not a tensor")
        if wanted and wanted != found.elem_type:
            made, said = type_name(found.elem_type), type_name(wanted)
            raise state.refuse(f"its type is {made}, not {said}")
        state.check_type(found.elem_type)
        with state.machine.builder.working_for(state.where):
            address = state.array(found).address if 0 not in found.shape else 0
        slots.append(_slot(value.name, "output", address, found.elem_type, found.shape))
    return slots


def _slot(
    name: str,
    kind: str,
    address: int,
    elem_type: int,
    shape: Shape,
    value: np.ndarray | None = None,
) -> Slot:
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(elem_type)).name
    held = () if value is None else tuple(value.astype(np.float64).reshape(-1).tolist())
    return Slot(name, kind, address, tuple(int(n) for n in shape), dtype, held)


def _image(state: State, slots: list[Slot]) -> ProgramImage:
    machine = state.machine
    machine.builder.scalar("halt")
    items, config = machine.builder.items, machine.config
    try:
        addresses = allocate.allocate(items, config)
    except allocate.DoesNotFit:
        raise CompileError(
            state.source, f"it needs more than the {config.sram_bytes} bytes of SRAM"
        ) from None
    schedule.synchronise(items, addresses)
    resolved = schedule.resolve(items, addresses)
    guards = tuple(Guard(each.address, each.limit, each.problem) for each in state.guards)
    io = IoMap(arrays=tuple(slots), guards=guards)
    meta = {"source": state.source, "sram_peak": allocate.peak(items, addresses)}
    return assemble(machine.builder, resolved, io, meta)
