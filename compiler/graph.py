"""The canonical graph: what is left of a transformer once exporters' noise is evaluated away.

Every value is per token: `value[s, g, d]` for the new tokens s, in `groups` g of `width` d. A graph
is a list of operators in execution order over such values and four kinds of operand:

- `Tensor(name, groups, width)`: an earlier operator's output;
- `Constant(name)`: a float32 array in `graph.constants`;
- `Scalar(value)`: one number;
- `Table(name)`: `graph.tables[name]`, float32 [max_context, width], row = the token's position.

The operators (`compiler.graph_rules.validate` checks their legality; `a` and `x` are tensors):

| kind | inputs | output[s] |
|---|---|---|
| embed | Constant [V, D]; ids | row ids[s] of the input of that name as (1, D) |
| features | ; input | the row s of the input of that name as (1, D) |
| linear | x (g, K), Constant [K, N]; bytes | x @ W as (g, N); bytes: W is whole numbers of 8 bits |
| each_linear | x (1 or g, K), Constant [g, K, N] | x[j] @ W[j] as (g, N) |
| chosen_linear | x (1 or g, K), i (g, 1), Constant [E, K, N] | x[j] @ W[i[j]] as (g, N) |
| lookup | x (g, K), Constant [K, N] | the row of W where x[g] is 1, its others 0, as (g, N) |
| top_index | x (1, E) … | its g largest features, equals in order, or those of g x, as (g, 1) |
| drop_max | x (g, d) | x, the first of the largest in each group far below all others |
| one_hot | i (g, 1) | 1 at i[g], else 0, as (g, E) |
| add, sub, mul, max, min | a, Tensor/Constant/Scalar/Table | element-wise, 1 broadcasts |
| sigmoid, exp, sqrt, recip, rsqrt, tanh | x | element-wise |
| round | x; unit, low, high | the nearest multiple of `unit`, ties to even: low … high of them |
| reduce_sum, reduce_max | x (g, d) | over d, as (g, 1) |
| sum_groups | x (g, d) | over g, as (1, d) |
| launch_max | x (g, d) | the largest of all tokens of the launch, or 0, as (1, 1) |
| rotate | x (g, d); shift, signs [d] | out[g, i] = signs[i] * x[g, (i + shift) mod d] |
| arrange | x (g, d), y (g, e) …; lists of w | out[g, i] = signs[i] * (x or y …)[g, position[i]] |
| view | x (g, d) | the same numbers in the same order as (g', d') |
| attention | q (H, d), k, v (Hkv, d), bias …; see below | softmax(scores) V as (H, d) |

A constant operand is shaped (1 or groups, 1 or width); a table is one row a token, shared by all
groups. Attention appends k and v to the cache `graph.caches[layer]` first. Token i sees those from
i - `behind` to i + `ahead`, -1 for all; where any token sees later ones, P is 0 (an encoder). Query
head h uses key head h // (H // Hkv). Scores are `scale` q Kᵀ, with a `softcap` c > 0 after that c
tanh(scores / c), plus the bias: nothing, a constant (H, max_context) for each key, or one table for
all heads, or one for each, whose rows hold a number for each key. With `sinks` the last operand is
a constant (H, 1): a score of each head more, whose weight is in the softmax's sum and nowhere else.

Products, and attention on arrays of bytes, may have ``codes``: a format of 8 bits of the ISA to
which what meets the weights is rounded, in units of a scale: that of its row, or of a linear the
last operand, a Constant [1, 2] of the scale and its reciprocal (`compiler.activations`).

Quantised attention: for each `Grid` and factor of `score_grids`, scores become its whole numbers
times the factor, before the bias; with a `weight_grid`, the softmax becomes the whole numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from compiler.deferred import Array


@dataclass(frozen=True)
class Tensor:
    """A per-token value of `groups` × `width` numbers."""

    name: str
    groups: int
    width: int

    @property
    def size(self) -> int:
        """Numbers per token."""
        return self.groups * self.width

    def __str__(self) -> str:
        return f"%{self.name}({self.groups}×{self.width})"


@dataclass(frozen=True)
class Constant:
    """A reference to `graph.constants[name]`."""

    name: str

    def __str__(self) -> str:
        return f"${self.name}"


@dataclass(frozen=True)
class Scalar:
    """A number written in the operator."""

    value: float

    def __str__(self) -> str:
        return f"{self.value:.9g}"


@dataclass(frozen=True)
class Table:
    """A reference to `graph.tables[name]`: one row per position."""

    name: str

    def __str__(self) -> str:
        return f"@{self.name}[position]"


Operand = Tensor | Constant | Scalar | Table


@dataclass(frozen=True)
class Source:
    """The ONNX node that an operator came from."""

    name: str
    op_type: str

    def __str__(self) -> str:
        return f'node "{self.name}" ({self.op_type})'


@dataclass(frozen=True)
class Op:
    """One operator of the table above: `output = kind(inputs; attributes)`."""

    kind: str
    inputs: tuple[Operand, ...]
    output: Tensor
    sources: tuple[Source, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        attributes = "".join(f" {k}={_short(v)}" for k, v in self.attributes.items())
        origin = ", ".join(f"{s.name} ({s.op_type})" for s in self.sources)
        operands = ", ".join(map(str, self.inputs))
        return f"{self.output} = {self.kind}({operands}){attributes}  # {origin}"


def _short(value: Any) -> str:
    if isinstance(value, str | bool | Grid):
        return str(value)
    text = str(list(value)) if isinstance(value, Sequence) else f"{value:.9g}"
    return text if len(text) <= 24 else text[:20] + " …]"


@dataclass(frozen=True)
class Grid:
    """`scale` times the whole numbers `low` … `high`; other numbers become the nearest, ties to
    even."""

    scale: float
    low: int
    high: int


@dataclass(frozen=True)
class Cache:
    """One layer's KV cache: ONNX names; [1, heads, P, width] in, [1, heads, P + S, width] out.

    With grids, keys or values of the graph are rounded to them, one after the other; those of the
    operator and of the cache are whole numbers of the last one.

    With scales, one for each head, the operator's keys or values are those of the graph over the
    scale, within ±127, and the cache rounds them to whole numbers, ties to even.
    """

    layer: int
    past_key: str
    past_value: str
    present_key: str
    present_value: str
    heads: int
    width: int
    key_grids: tuple[Grid, ...] = ()
    value_grids: tuple[Grid, ...] = ()
    key_scales: tuple[float, ...] = ()
    value_scales: tuple[float, ...] = ()


@dataclass(frozen=True)
class Image:
    """An input of (channels, height, width) that comes as rows of patches, each (channels, *cut)
    in this order; ``order``: each token's patch, row by row of the image, -1 for none: zeros."""

    size: tuple[int, ...]
    cut: tuple[int, ...]
    order: tuple[int, ...]


Rule = tuple[str, int]  # how a token is picked by its id, see `isa.iomap.picked_place`


@dataclass(frozen=True)
class Output:
    """A graph output that is a per-token tensor, with its ONNX name and element type.

    ``pick``: "first" or "last", or with ``pick_id`` a `Rule`, if it is one token's alone,
    [1, size]; else [1, tokens, size]. One number a token may have no axis of its own.
    """

    name: str
    tensor: Tensor
    elem_type: int
    pick: str = ""
    pick_id: int = 0
    squeezed: bool = False


@dataclass(frozen=True)
class Graph:
    """A transformer as canonical operators. Names are those of the ONNX file."""

    source: str
    max_context: int
    inputs: tuple[str, ...]
    ops: tuple[Op, ...]
    constants: Mapping[str, Array]
    tables: Mapping[str, np.ndarray]
    caches: tuple[Cache, ...]
    outputs: tuple[Output, ...]
    excluded: Mapping[str, Sequence[int]] = field(default_factory=dict)  # ids, by input
    images: Mapping[str, Image] = field(default_factory=dict)  # by input
    tokens: int = 0  # of every run, where the graph fixes how many
    fates: Mapping[str, str] = field(default_factory=dict)  # ONNX node → what became of it

    def __str__(self) -> str:
        """One line an operator, after the constants, tables and caches."""
        lines = [f"{self.source}: {len(self.ops)} operators, context {self.max_context}"]
        lines += [f"  ${k} {v.dtype}{list(v.shape)}" for k, v in self.constants.items()]
        lines += [f"  @{k} {v.dtype}{list(v.shape)}" for k, v in self.tables.items()]
        lines += [
            f"  cache {c.layer}: {c.past_key}, {c.past_value} ({c.heads}×{c.width})"
            for c in self.caches
        ]
        lines += [f"  {op}" for op in self.ops]
        outputs = [f"  {o.name} = {o.pick and f'{o.pick} of '}{o.tensor}" for o in self.outputs]
        return "\n".join([*lines, *outputs])

    @property
    def at_once(self) -> bool:
        """Whether all new tokens must be there at once: a number depends on all of them."""
        return any(op.kind == "launch_max" for op in self.ops)

    @property
    def quantised(self) -> bool:
        """Whether activations are rounded: small errors before become whole steps."""
        return any(op.kind in ("round", "launch_max") for op in self.ops)

    @property
    def causal(self) -> bool:
        """Whether no token sees a later one: a decoder, whose caches let it go on."""
        return all(op.attributes["ahead"] == 0 for op in self.ops if op.kind == "attention")
