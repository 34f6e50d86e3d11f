"""The end of a decoder's program: the likeliest next token is chosen, and becomes the next input.

A launch that wants W tokens goes back to its beginning with each one it has chosen, until there are
W, one of them is a stop token, or the context is full. With W = 0 the program ends at once.
"""

from compiler import builder as b
from compiler.builder import Builder
from compiler.graph import Constant, Graph
from compiler.lowering import Stored
from compiler.virtual import LONGEST_ROW, Buffer, FieldValue, Label
from isa.config import F32_BYTES, HBM_ATOM_BYTES, ChipConfig
from isa.iomap import STOPS, WORD_BYTES, Generation
from isa.program import Reg

BEGIN, _END = "launch", "end of the launch"
_TOKEN, _COUNT, _OTHER = b.DONE, b.M, b.SCRATCH  # registers, all free between launches
WANTED = b.SCRATCH  # no instruction between `load_wanted` and `choose_and_repeat` changes it
_WANTED, _MADE, _FIRST_STOP = (i * WORD_BYTES for i in (2, 3, 4))  # behind S and P


def logits_of(graph: Graph, config: ChipConfig) -> str | None:
    """The tensor whose row tells the next token; None where the program cannot choose: encoders,
    several inputs of ids, no output "logits" for each token, more or other tokens than it may read,
    rows that are too long."""
    tables = [op for op in graph.ops if op.kind == "embed"]
    ids = {op.attributes["ids"] for op in tables}
    found = [output.tensor for output in graph.outputs if output.name == "logits"]
    if not graph.causal or len(ids) != 1 or not found or found[0].groups != 1 or graph.excluded:
        return None
    names = [x.name for op in tables for x in op.inputs if isinstance(x, Constant)]
    rows = [graph.constants[name].shape[0] for name in names]
    if found[0].size > min(rows):
        return None
    row = F32_BYTES * found[0].size + config.f32_vector_bytes + config.hbm_alignment_bytes
    fits = row + config.line_bytes < min(config.sram_bytes, LONGEST_ROW)
    return found[0].name if fits else None


def load_wanted(build: Builder, arguments: Buffer) -> None:
    """W to its register, for `choose_and_repeat`: to be emitted while engines are at work."""
    build.scalar("ld", rd=WANTED, x=arguments.at(0, HBM_ATOM_BYTES), y=_WANTED)


def choose_and_repeat(
    build: Builder, stored: Stored, places: tuple[Buffer, Buffer, Buffer], context: int
) -> tuple[Generation, Buffer]:
    """Emit it, where `load_wanted` has been; ``places``: arguments, ids, positions. Returns where
    the host finds what concerns it, and what else is written in HBM."""
    arguments, ids, positions = places
    chosen = build.hbm.reserve("chosen tokens", WORD_BYTES * context)
    place = build.hbm.reserve("choice", build.config.hbm_alignment_bytes)
    words = arguments.at(0, HBM_ATOM_BYTES)

    def load_word(register: Reg, offset: int) -> None:
        build.scalar("ld", rd=register, x=words, y=offset)

    build.scalar("beq", rs=WANTED, x=0, y=Label(_END))
    _choose(build, stored, place)
    build.scalar("ld", rd=_TOKEN, x=place.at(0, HBM_ATOM_BYTES), y=0)
    load_word(_COUNT, _MADE)
    build.scalar("shl", rd=_OTHER, rs=_COUNT, x=2)
    build.scalar("st", rs=_TOKEN, x=chosen.at(0, HBM_ATOM_BYTES), y=_OTHER)
    build.scalar("add", rd=_COUNT, rs=_COUNT, x=1)
    build.scalar("st", rs=_COUNT, x=words, y=_MADE)
    load_word(_OTHER, _WANTED)
    build.scalar("beq", rs=_COUNT, x=_OTHER, y=Label(_END))
    for index in range(STOPS):
        load_word(_OTHER, _FIRST_STOP + index * WORD_BYTES)
        build.scalar("beq", rs=_TOKEN, x=_OTHER, y=Label(_END))
    build.scalar("add", rd=b.PAST, rs=b.PAST, x=b.NEW_TOKENS)
    build.scalar("beq", rs=b.PAST, x=context, y=Label(_END))
    build.scalar("add", rd=b.NEW_TOKENS, rs=b.ZERO, x=1)
    build.scalar("st", rs=_TOKEN, x=ids.at(0, HBM_ATOM_BYTES), y=0)
    build.scalar("st", rs=b.PAST, x=positions.at(0, HBM_ATOM_BYTES), y=0)
    build.scalar("beq", rs=b.ZERO, x=0, y=Label(BEGIN))
    build.label(_END)
    start = arguments.address or 0
    assert chosen.address is not None
    where = start + _WANTED, start + _MADE, start + _FIRST_STOP, chosen.address
    return Generation(*where), place


def _choose(build: Builder, stored: Stored, place: Buffer) -> None:
    """The last new token's logits → the index of the first maximum, in HBM."""
    config, atoms = build.config, stored.row_bytes // HBM_ATOM_BYTES
    row = build.sram("logits", stored.row_bytes)
    index = build.sram("likeliest", max(config.f32_vector_bytes, config.hbm_alignment_bytes))
    build.scalar("sub", rd=_OTHER, rs=b.NEW_TOKENS, x=1)
    build.scalar("mul", rd=_OTHER, rs=_OTHER, x=atoms)
    build.scalar("add", rd=_OTHER, rs=_OTHER, x=stored.buffer.at(0, HBM_ATOM_BYTES))
    fields: dict[str, FieldValue] = {
        "hbm": _OTHER,
        "sram": row.at(),
        "rows": 1,
        "bytes": stored.row_bytes,
    }
    build.emit("load", (stored.buffer.access(),), (row.access(),), fields=fields)
    fields = {"dst": index.at(), "a": row.at(), "rows": 1, "cols": stored.layout.width}
    build.emit("vargmax", (row.access(),), (index.access(),), fields=fields)
    fields = {
        "hbm": place.at(0, HBM_ATOM_BYTES),
        "sram": index.at(),
        "rows": 1,
        "bytes": config.hbm_alignment_bytes,
    }
    build.emit("store", (index.access(),), (place.access(),), fields=fields)
    build.scalar("sync")
