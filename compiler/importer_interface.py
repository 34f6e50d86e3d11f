"""The roles of a transformer's graph inputs and outputs: ids, mask, positions, KV cache, others."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import onnx
from onnx import TensorProto, helper

from compiler.errors import CompileError
from compiler.evaluate_sample import Sample
from compiler.graph import Cache

# Sizes unlike each other: a dimension is the number of tokens only if it follows all of them.
SAMPLES = (Sample(7, 13), Sample(11, 5), Sample(3, 0), Sample(1, 17))
IDS = ("input_ids", "token_type_ids")
FEATURES = ("inputs_embeds", "hidden_states")  # a row of numbers for each token
PAST = re.compile(r"^past\w*[._](\d+)[._](key|value)$")
PRESENT = re.compile(r"^present\w*[._](\d+)[._](key|value)$")


@dataclass(frozen=True)
class Interface:
    """Names by role; `elem_types` of every input; `mask` and `positions` may be absent ("").

    `ids`: the inputs that select rows of embeddings, "input_ids" first; `outputs`: element types
    by name, without the caches'. Without `caches` the graph takes all tokens at once: its
    attention gets caches of its own.
    """

    ids: tuple[str, ...]
    mask: str
    positions: str
    caches: tuple[Cache, ...]
    outputs: Mapping[str, int]
    elem_types: Mapping[str, int]
    features: Mapping[str, int] = field(default_factory=dict)  # numbers of a token, by name
    tokens: int = 0  # of every run, where the graph fixes how many

    @property
    def samples(self) -> tuple[Sample, ...]:
        """Sizes to evaluate the graph at."""
        if self.tokens:
            return (Sample(self.tokens, 0),) * 2
        return SAMPLES if self.caches else tuple(Sample(s.new, 0) for s in SAMPLES)

    def shapes(self, new: int, past: int) -> dict[str, tuple[int, ...]]:
        """Each input's shape for batch 1, `new` tokens after `past`."""
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(self.ids, (1, new))
        if self.mask:
            shapes[self.mask] = (1, past + new)
        if self.positions:
            shapes[self.positions] = (1, new)
        for name, width in self.features.items():
            shapes[name] = (1, new, width)
        for cache in self.caches:
            for name in (cache.past_key, cache.past_value):
                shapes[name] = (1, cache.heads, past, cache.width)
        return shapes


def find_interface(model: onnx.ModelProto, source: str, images: Iterable[str] = ()) -> Interface:
    """Assign a role to every input and output of `model`; CompileError where one has none.

    ``images``: inputs of rows of patches."""
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = {v.name: v for v in model.graph.input if v.name not in stored}
    outputs = {v.name: v for v in model.graph.output}
    past = _by_layer(inputs, PAST)
    present = _by_layer(outputs, PRESENT)
    features = {name: inputs[name] for name in (*FEATURES, *images) if name in inputs}
    if IDS[0] not in inputs and not features:
        raise CompileError(source, f'it needs the input "{IDS[0]}"', _has(inputs))
    caches = _caches(inputs, past, present, source)
    if caches and "logits" not in outputs:
        raise CompileError(source, 'a decoder needs the output "logits"', _has(outputs))
    _refuse_others({n: v for n, v in inputs.items() if n not in features}, past, source)
    lengths = {name: _length(value, source) for name, value in features.items()}
    return Interface(
        ids=tuple(name for name in IDS if name in inputs),
        mask="attention_mask" if "attention_mask" in inputs else "",
        positions="position_ids" if "position_ids" in inputs else "",
        caches=caches,
        outputs={
            name: v.type.tensor_type.elem_type
            for name, v in outputs.items()
            if name not in present.values()
        },
        elem_types={name: v.type.tensor_type.elem_type for name, v in inputs.items()},
        features={name: _dims(value)[2] or 0 for name, value in features.items()},
        tokens=max(lengths.values(), default=0),
    )


def _length(value: onnx.ValueInfoProto, source: str) -> int:
    """How many tokens an input of features has, 0 for any."""
    dims = _dims(value)
    if len(dims) != 3 or dims[0] not in (None, 1) or dims[2] is None:
        problem = f"must be [batch 1 or free, tokens, features fixed], not {_show(value)}"
        raise CompileError(source, f'input "{value.name}" {problem}')
    return dims[1] or 0


_INTEGERS = (TensorProto.INT32, TensorProto.INT64)
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def check_types(model: onnx.ModelProto, interface: Interface, source: str) -> None:
    """Ids and positions must be integers, caches and outputs floats, the mask of any known type."""
    wanted: dict[str, tuple[int, ...]] = dict.fromkeys(interface.ids, _INTEGERS)
    wanted[interface.positions] = _INTEGERS
    wanted[interface.mask] = tuple(helper.get_all_tensor_dtypes())
    stored = {tensor.name for tensor in model.graph.initializer}  # may be inputs as well
    for value in (*model.graph.input, *model.graph.output):
        kinds, kind = wanted.get(value.name, _FLOATS), value.type.tensor_type.elem_type
        if kind not in kinds and value.name not in stored:
            known = ", ".join(map(_type_name, kinds[:4]))
            raise CompileError(
                source, f'"{value.name}" must be of type {known}, not {_type_name(kind)}'
            )


def _type_name(kind: int) -> str:
    known = kind in TensorProto.DataType.values()
    return str(TensorProto.DataType.Name(kind)) if known else str(kind)


def check_shapes(model: onnx.ModelProto, interface: Interface, source: str) -> None:
    """Every input must take batch 1 and any number of tokens; caches need a fixed geometry."""
    inputs = {v.name: v for v in model.graph.input}
    for name in (*interface.ids, interface.mask, interface.positions):
        if name:
            _check_two_free_axes(inputs[name], source)
    for cache in interface.caches:
        for name in (cache.past_key, cache.past_value):
            _check_cache(inputs[name], source)
        if _dims(inputs[cache.past_key])[1::2] != _dims(inputs[cache.past_value])[1::2]:
            raise CompileError(source, f"key and value of layer {cache.layer} must have one shape")


Layers = dict[tuple[int, str], str]


def _by_layer(values: Mapping[str, onnx.ValueInfoProto], pattern: re.Pattern[str]) -> Layers:
    found = {}
    for name in values:
        if match := pattern.match(name):
            found[int(match[1]), match[2]] = name
    return found


def _refuse_others(inputs: Mapping[str, onnx.ValueInfoProto], cache: Layers, source: str) -> None:
    roles = {*IDS, "attention_mask", "position_ids"}
    unknown = [name for name in inputs if name not in roles and name not in cache.values()]
    if unknown:
        raise CompileError(
            source,
            f"inputs without a known role: {', '.join(unknown)}",
            f"export without them; known are {', '.join(sorted(roles))} and the KV cache",
        )


def _caches(
    inputs: Mapping[str, onnx.ValueInfoProto], past: Layers, present: Layers, source: str
) -> tuple[Cache, ...]:
    """The caches in layer order, every layer with all four names; a free size becomes 0."""
    caches = []
    for layer in sorted({layer for layer, _ in (*past, *present)}):
        names = [roles.get((layer, part)) for roles in (past, present) for part in ("key", "value")]
        if None in names or len(past) != len(present):
            raise CompileError(
                source, f"the KV cache of layer {layer} needs past and present key and value"
            )
        past_key, past_value, present_key, present_value = (str(name) for name in names)
        dims = _dims(inputs[past_key])
        heads, width = (dims[1] or 0, dims[3] or 0) if len(dims) == 4 else (0, 0)
        caches.append(Cache(layer, past_key, past_value, present_key, present_value, heads, width))
    return tuple(caches)


def _dims(value: onnx.ValueInfoProto) -> list[int | None]:
    return [d.dim_value or None for d in value.type.tensor_type.shape.dim]


def _check_cache(value: onnx.ValueInfoProto, source: str) -> None:
    dims = _dims(value)
    if len(dims) != 4 or dims[1] is None or dims[3] is None:
        raise CompileError(
            source,
            f'input "{value.name}" must be [batch, heads, past, width], heads and width fixed, '
            f"not {_show(value)}",
        )
    if dims[0] not in (None, 1) or dims[2] is not None:
        raise CompileError(
            source,
            f'input "{value.name}" must have batch 1 and a free past length, not {_show(value)}',
            "export with dynamic axes",
        )


def _check_two_free_axes(value: onnx.ValueInfoProto, source: str) -> None:
    dims = _dims(value)
    if len(dims) != 2 or dims[0] not in (None, 1) or dims[1] is not None:
        raise CompileError(
            source,
            f'input "{value.name}" must be [batch 1 or free, free length], not {_show(value)}',
            "export with dynamic axes",
        )


def _show(value: onnx.ValueInfoProto) -> str:
    dims = value.type.tensor_type.shape.dim
    return "[" + ", ".join(d.dim_param or str(d.dim_value or "?") for d in dims) + "]"


def _has(values: Mapping[str, onnx.ValueInfoProto]) -> str:
    return "it has " + ", ".join(list(values)[:8])
