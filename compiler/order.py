"""order_by_products: the vector unit works on what the array has made, while that makes the next.

The lowering emits an operator after another. An engine takes its instructions in order, so the
vector unit waits for the sums of a product whose operator comes first although it could work on
those of an earlier one, and the array waits for the vector unit in turn. Here each product comes as
early as what it reads allows, but only one ahead, and the other instructions come in the order of
the last product that they depend on.
"""

from collections.abc import Iterator, Sequence

from compiler.virtual import Access, Buffer, Item, Label, VirtualOp
from isa.program import Reg
from isa.table import Engine

_BARRIERS = ("sync", "halt", "beq", "blt", "ld", "st")
_Place = tuple[str, str, int | None]  # what may be read and written: memory, name, address
_Touched = dict[_Place, list[tuple[Access, int]]]  # by whom


def order_by_products(items: list[Item], bodies: Sequence[int]) -> list[Item]:
    """The program in that order; nothing passes a label, a branch, a `sync`, or one of the indices
    ``bodies``, which stay what they are. Loads that may move up stay in order, each before what
    uses it."""
    result: list[Item] = []
    part: list[VirtualOp] = []
    borders = set(bodies)
    for index, item in enumerate(items):
        if index in borders:
            result += _ordered(part)
            part = []
        if isinstance(item, Label) or item.mnemonic in _BARRIERS:
            result += [*_ordered(part), item]
            part = []
        else:
            part.append(item)
    return result + _ordered(part)


def _ordered(ops: list[VirtualOp]) -> list[VirtualOp]:
    """Instructions without a border between them."""
    working = [op for op in ops if not op.prefetch]
    needs = _needs(working)
    levels = _levels(working, needs)
    others = [i for i, op in enumerate(working) if op.engine != Engine.MATRIX]
    products = [i for i, op in enumerate(working) if op.engine == Engine.MATRIX]
    order, done = list[int](), set[int]()

    def take(index: int) -> None:
        order.append(index)
        done.add(index)

    for other in sorted(others, key=lambda index: (levels[index], index)):
        while products and levels[products[0]] <= levels[other] + 1 and needs[products[0]] <= done:
            take(products.pop(0))
        take(other)
    for product in products:
        take(product)
    return list(_with_loads([working[i] for i in order], [op for op in ops if op.prefetch]))


def _levels(ops: list[VirtualOp], needs: list[set[int]]) -> list[int]:
    """How many products come before each one, itself included: of other instructions, before the
    last one that they depend on. Loads, which only one queue takes, stay behind what was before."""
    levels, products, before = list[int](), 0, 0
    for op, needed in zip(ops, needs, strict=True):
        level = max((levels[i] for i in needed), default=0)
        if op.engine == Engine.MATRIX:
            products += 1
            level = products
        elif op.engine == Engine.LOAD:
            level = max(level, before)
        levels.append(level)
        before = level
    return levels


def _needs(ops: list[VirtualOp]) -> list[set[int]]:
    """Of each instruction, earlier ones that it must stay behind: those that touch the same bytes
    or registers, if one of the two writes, unless others imply it; products stay in order."""
    reads: _Touched = {}
    writes: _Touched = {}
    found, product = list[set[int]](), -1
    for index, op in enumerate(ops):
        needed = {product} if op.engine == Engine.MATRIX and product >= 0 else set[int]()
        read, written = [*op.reads, *_registers(op, False)], [*op.writes, *_registers(op, True)]
        for access in read:
            needed |= _touching(writes, access)
        for access in written:
            needed |= _touching(writes, access) | _touching(reads, access)
            _forget_covered(writes, access)
            _forget_covered(reads, access)
        for access in read:
            reads.setdefault(_place(access), []).append((access, index))
        for access in written:
            writes.setdefault(_place(access), []).append((access, index))
        if op.engine == Engine.MATRIX:
            product = index
        found.append(needed)
    return found


def _registers(op: VirtualOp, written: bool) -> Iterator[Access]:
    """Registers that an instruction reads or writes, as rooms of one byte."""
    for name, value in op.fields.items():
        if isinstance(value, Reg) and value.index and (name == "rd") == written:
            yield Buffer(f"r{value.index}", "register", 1).access()


def _place(access: Access) -> _Place:
    return access.buffer.space, access.buffer.name, access.buffer.address


def _touching(earlier: _Touched, access: Access) -> set[int]:
    found = earlier.get(_place(access), [])
    return {i for other, i in found if other.start < access.end and access.start < other.end}


def _forget_covered(earlier: _Touched, access: Access) -> None:
    """Who comes behind what writes this is behind them, too."""
    found = earlier.get(_place(access), [])
    found[:] = [
        (other, i) for other, i in found if other.start < access.start or access.end < other.end
    ]


def _with_loads(ops: list[VirtualOp], loads: list[VirtualOp]) -> Iterator[VirtualOp]:
    """Each load, and those before it, come before the first instruction that touches its target."""
    order = {load.writes[0].buffer.name: place for place, load in enumerate(loads)}
    next_load = 0
    for op in ops:
        wanted = (order.get(access.buffer.name, -1) for access in (*op.reads, *op.writes))
        last = max(wanted, default=-1) + 1
        yield from loads[next_load:last]
        next_load = max(next_load, last)
        yield op
    yield from loads[next_load:]
