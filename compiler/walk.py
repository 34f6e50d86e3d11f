"""walk: addresses in layers of a loop become a register that walks through each layer.

The register holds the address (in atoms) of what the layer's last instruction took from memory. It
moves with one `add` to what the next one takes, and back to the layer's beginning before labels,
branches and instructions that name it.
"""

from collections.abc import Iterator, Sequence

from compiler.builder import WALK
from compiler.virtual import Address, FieldValue, Item, Label, VirtualOp
from isa.config import HBM_ATOM_BYTES

_WORD = 1 << 32
_BRANCHES = {"beq", "blt"}


def walk(items: Sequence[Item], begin: int) -> list[Item]:
    """The program without such addresses; the first layer begins at byte ``begin``."""
    result: list[Item] = []
    at = begin
    for item in items:
        target, fields = at, dict[str, FieldValue]()
        if isinstance(item, Label) or item.mnemonic in _BRANCHES or WALK in item.fields.values():
            target = begin
        else:
            for name, address in _layered(item):
                assert not fields, f"{item.mnemonic} has two addresses in a layer"
                assert address.unit == HBM_ATOM_BYTES
                assert address.buffer.address is not None
                target = address.buffer.address + address.offset
                fields[name] = WALK
        if target != at:
            step = (target - at) // HBM_ATOM_BYTES % _WORD
            source = "" if isinstance(item, Label) else item.source
            result.append(VirtualOp("add", {"rd": WALK, "rs": WALK, "x": step}, source=source))
            at = target
        if isinstance(item, VirtualOp):
            item.fields |= fields
        result.append(item)
    return result


def _layered(op: VirtualOp) -> Iterator[tuple[str, Address]]:
    for name, value in op.fields.items():
        if isinstance(value, Address) and value.buffer.layered:
            yield name, value
