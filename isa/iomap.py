"""Where a program keeps its inputs and outputs in HBM: the contract of compiler and host."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

STORAGE_BYTES = {"int32": 4, "f32": 4, "bf16": 2, "e4m3": 1, "i8": 1}
KINDS = ("tokens", "features", "positions", "mask", "kv", "output", "scratch")
BY_ID = ("first id", "last other id", "largest")  # of the token ids of a launch
PICKS = ("", "first", "last", *BY_ID)
WORD_BYTES = 4
STOPS = 4  # ids that end a launch which chooses tokens
LARGEST_CODE = 127  # of an int8 cache with scales: as many to both sides of 0
NO_STOP = 0xFFFFFFFF  # where there are fewer


@dataclass(frozen=True)
class Tensor:
    """An array in HBM, one row for each token.

    Row t starts at byte ``address + t * row_bytes``. It holds ``groups`` groups (heads) that start
    ``group_bytes`` apart, each of ``width`` contiguous elements of type ``dtype``.

    ``kind``: ``features`` (numbers of each token; of an ``image`` (channels, height, width) they
    are its patches, each (channels, *cut), row t that of number ``order``[t], zeros for -1),
    ``tokens`` and ``positions`` (int32 below ``limit``, none of ``excluded``, one a row;
    positions of a model that has no input for them have no name: the host counts tokens), ``mask``
    (not in HBM: the host checks that it is all ones), ``kv`` (a layer's keys or values; ``output``
    names the present.* output that continues the past ``name``; both are empty where the model has
    no such inputs and outputs), ``output`` (``pick``:
    where the model gives one token's row alone, whose, see `picked_place` of ``pick_id``;
    ``squeezed`` where its one number has no axis), ``scratch`` (what the program
    keeps between its passes). Of ``kv``
    with ``grids`` (scale, low, high), the ONNX side's values are rounded to one after the other: so
    many times the scale, low … high, ties to even; the elements are the last one's whole numbers.
    Of ``kv`` with ``scales``, one for each group, the elements are values times the scale's fp32
    reciprocal, rounded to nearest, ties to even, within ±`LARGEST_CODE`.
    ``onnx_dtype`` is the NumPy name of the ONNX side's type,
    ``capacity`` the greatest number of rows.
    """

    name: str
    kind: str
    address: int
    row_bytes: int
    width: int
    dtype: str
    capacity: int
    onnx_dtype: str
    groups: int = 1
    group_bytes: int = 0
    output: str = ""
    limit: int = 0
    excluded: Sequence[int] = ()
    pick: str = ""
    pick_id: int = 0
    squeezed: bool = False
    grids: Sequence[tuple[float, int, int]] = ()
    scales: Sequence[float] = ()
    image: Sequence[int] = ()
    cut: Sequence[int] = ()
    order: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(
                f"tensor {self.name!r}: kind must be one of {KINDS}, not {self.kind!r}"
            )
        if self.pick not in PICKS:
            raise ValueError(
                f"tensor {self.name!r}: pick must be one of {PICKS}, not {self.pick!r}"
            )
        if self.dtype not in STORAGE_BYTES:
            known = tuple(STORAGE_BYTES)
            raise ValueError(
                f"tensor {self.name!r}: dtype must be one of {known}, not {self.dtype!r}"
            )

    @property
    def end(self) -> int:
        """First byte address behind the buffer."""
        return self.address + self.capacity * self.row_bytes

    def group_step(self) -> int:
        """Distance of groups in bytes; packed where ``group_bytes`` is 0."""
        return self.group_bytes or self.width * STORAGE_BYTES[self.dtype]


def picked_place(pick: str, number: int, ids: NDArray) -> int:
    """Which of a launch's tokens is picked: the "first" or "last" one; or of BY_ID the first one
    whose id is ``number``, the last one whose id is another, or the first one with the largest id,
    token 0 if there is none."""
    if pick == "last":
        return len(ids) - 1
    if pick == "largest":
        return int(ids.argmax())
    if pick == "first id":
        return int((ids == number).argmax())
    others = np.flatnonzero(ids != number)
    return int(others[-1]) if pick == "last other id" and others.size else 0


@dataclass(frozen=True)
class Array:
    """A tensor of a graph of fixed shapes: fp32 numbers behind each other from ``address`` on.

    ``kind``: "input", "output", or "fixed": an input for whose ``value`` alone the program was
    made; it is not in HBM. ``onnx_dtype``: the type's name in NumPy (and ml_dtypes); the host
    converts.
    """

    name: str
    kind: str
    address: int
    shape: Sequence[int]
    onnx_dtype: str
    value: Sequence[float] = ()


@dataclass(frozen=True)
class Guard:
    """An fp32 number that the program leaves behind; where its magnitude is above ``limit``, or it
    is NaN, ``problem`` holds, and the outputs are not what the model says."""

    address: int
    limit: float
    problem: str


@dataclass(frozen=True)
class Generation:
    """Where a decoder's program that chooses tokens itself finds and leaves words: byte addresses.

    ``wanted``: the most tokens to choose, 0 for none; ``stops``: `STOPS` ids behind which it ends,
    or `NO_STOP`; ``made``: how many it has chosen, set to 0 by the host; ``chosen``: their ids. The
    last one is in ``chosen``, not yet in the KV cache: with N of them, that holds P + S + N - 1.
    """

    wanted: int
    made: int
    stops: int
    chosen: int


FIRST_PAGE = 2 * WORD_BYTES  # in a slot's record, behind S and P


@dataclass(frozen=True)
class Slots:
    """Where a program that serves several sequences finds them: ``count`` records, from byte
    ``address`` on, ``record_bytes`` apart, each of words S, P, and the page of each
    ``page_tokens`` tokens of its context. There are ``pages``, of rows of every ``kv`` tensor.

    S new tokens of slot 0 come first, then those of slot 1, …, at most ``largest_launch`` in all;
    the words S and P of the program are their sum and 0.
    """

    address: int
    record_bytes: int
    count: int
    page_tokens: int
    pages: int

    def write(
        self, memory: NDArray[np.uint8], slot: int, new: int, past: int, pages: Sequence[int]
    ) -> None:
        """A record: S, P, and its pages."""
        start = self.address + slot * self.record_bytes
        words = memory[start : start + self.record_bytes].view(np.uint32)
        words[: FIRST_PAGE // WORD_BYTES] = new, past
        words[FIRST_PAGE // WORD_BYTES :][: len(pages)] = pages

    def write_alone(self, memory: NDArray[np.uint8], new: int, past: int) -> None:
        """Slot 0 has the only sequence, in pages 0, 1, …: its rows are where they would be without
        slots."""
        for slot in range(self.count):
            self.write(memory, slot, 0, 0, ())
        self.write(memory, 0, new, past, range(-(-(new + past) // self.page_tokens)))


@dataclass(frozen=True)
class IoMap:
    """Inputs and outputs of a transformer's program.

    ``new_address`` and ``past_address``: byte addresses of the 32-bit words S (new tokens in this
    run) and P (tokens already in the KV cache). S + P is at most ``max_context``. After a run,
    row t of each ``kv`` tensor holds token t for t < P + S, and row i of an ``output`` belongs to
    new token i. An encoder's program is not ``causal``: its P must be 0. Programs without a model
    (assembled by hand) have no tensors and addresses of -1. ``generation`` is None where a program
    cannot choose tokens; ``most_new`` bounds S where numbers depend on all tokens of a run (0:
    nothing does), ``exact_new`` says what S must be (0: anything); where it has chosen some,
    outputs are those of its last step. ``slots``: where it serves several sequences.

    Programs of graphs of fixed shapes have ``arrays`` and ``guards`` instead of all this.
    """

    new_address: int = -1
    past_address: int = -1
    max_context: int = 0
    tensors: tuple[Tensor, ...] = field(default_factory=tuple)
    causal: bool = True
    generation: Generation | None = None
    most_new: int = 0
    slots: Slots | None = None
    exact_new: int = 0
    arrays: tuple[Array, ...] = ()
    guards: tuple[Guard, ...] = ()

    @property
    def largest_launch(self) -> int:
        """New tokens that one run may have."""
        return self.most_new or self.max_context

    def write_sizes(self, memory: NDArray[np.uint8], new: int, past: int) -> None:
        """S and P of a launch; with slots, those of the only sequence."""
        if self.slots:
            self.slots.write_alone(memory, new, past)
            past = 0
        for address, value in ((self.new_address, new), (self.past_address, past)):
            memory[address : address + WORD_BYTES].view(np.uint32)[0] = value

    def of_kind(self, kind: str) -> list[Tensor]:
        return [tensor for tensor in self.tensors if tensor.kind == kind]

    @property
    def is_model(self) -> bool:
        """Whether the program has the inputs of a transformer."""
        return self.new_address >= 0

    def to_dict(self) -> dict[str, object]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> "IoMap":
        tensors = tuple(_tensor(tensor) for tensor in data["tensors"])
        places = data["new_address"], data["past_address"], data["max_context"]
        chooses = data["generation"] and Generation(**data["generation"])
        slots = data["slots"] and Slots(**data["slots"])
        arrays = tuple(_array(each) for each in data["arrays"])
        guards = tuple(Guard(**each) for each in data["guards"])
        rest = data["most_new"], slots, data["exact_new"]
        return cls(*places, tensors, data["causal"], chooses, *rest, arrays, guards)


def _tensor(data: dict) -> Tensor:
    names = "excluded", "scales", "image", "cut", "order"
    lists = {name: tuple(data.get(name, ())) for name in names}
    grids = tuple(tuple(grid) for grid in data["grids"])
    return Tensor(**data | lists | {"grids": grids})


def _array(data: dict) -> Array:
    return Array(**data | {"shape": tuple(data["shape"]), "value": tuple(data["value"])})
