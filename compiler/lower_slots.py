"""Lowering of attention for several sequences in one program, each in a slot of its own.

A launch brings the new tokens of all slots, one slot's behind the other's, no more than one pass
holds. Everything but attention treats them alike: weights are read once for all of them. Attention
is a loop over the slots, with the registers of a pass for each of them: S, P, and m tokens from row
ROW on. A slot's keys and values lie in pages, as many tokens as a tile, wherever its record says.
"""

from collections.abc import Callable

from compiler import builder as b
from compiler.graph import Op, Tensor
from compiler.lower_inputs import past_registers
from compiler.lowering import Lowering
from compiler.virtual import Label, VirtualOp
from isa.config import HBM_ATOM_BYTES
from isa.iomap import WORD_BYTES


def for_each_slot(low: Lowering, op: Op, attend: Callable[[], None]) -> None:
    """Emit the loop around ``attend``, which serves the tokens of one slot that lie in one tile."""
    build, slots = low.builder, low.caches.slots
    assert slots is not None
    begin, end = f"slot of {op.output.name}", f"next slot of {op.output.name}"
    start = len(build.items)
    tensors = [x for x in (*op.inputs, op.output) if isinstance(x, Tensor)]
    whole = [low.place(tensor).buffer.access() for tensor in tensors]
    build.emit("sync", tuple(whole))  # all rows of the output are there before the first is written
    build.scalar("add", rd=b.SLOT, rs=b.ZERO, x=0)
    build.scalar("add", rd=b.ROW, rs=b.ZERO, x=0)
    with build.changing_rows():
        build.label(begin)
        build.scalar("sync")
        build.scalar("ld", rd=b.NEW_TOKENS, x=slots.records.at(0, HBM_ATOM_BYTES), y=b.SLOT)
        build.scalar("add", rd=b.SCRATCH, rs=b.SLOT, x=WORD_BYTES)
        build.scalar("ld", rd=b.PAST, x=slots.records.at(0, HBM_ATOM_BYTES), y=b.SCRATCH)
        build.scalar("beq", rs=b.NEW_TOKENS, x=b.DONE, y=Label(end))
        build.scalar("sub", rd=b.M, rs=b.NEW_TOKENS, x=b.DONE)
        past_registers(build, low.caches, causal=True)
        attend()
        build.scalar("add", rd=b.ROW, rs=b.ROW, x=b.M)
        build.scalar("add", rd=b.DONE, rs=b.DONE, x=b.M)
        build.scalar("beq", rs=b.ZERO, x=0, y=Label(begin))
        build.label(end)
        build.scalar("add", rd=b.DONE, rs=b.ZERO, x=0)
        build.scalar("add", rd=b.SLOT, rs=b.SLOT, x=slots.record_bytes)
        last = slots.count * slots.record_bytes
        build.scalar("blt", rs=b.SLOT, x=last, y=Label(begin))
    # What an iteration touches must stay where it is until the last one is over.
    used = [x for item in build.items[start:] if isinstance(item, VirtualOp) for x in item.reads]
    build.emit("sync", tuple(x for x in used if x.buffer.space == "sram"))
    build.scalar("add", rd=b.M, rs=b.ROW, x=0)
    build.scalar("add", rd=b.NEW_TOKENS, rs=b.ROW, x=0)
