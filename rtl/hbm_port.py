"""The two sides of an HBM controller: column accesses inside it, the device's buses outside."""

from amaranth.hdl import unsigned
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from isa.hbm import BANKS, BEAT_BYTES, COLUMNS, HbmGeneration
from isa.secded import CHECK_BITS, WORD_BYTES

BANK_BITS = (BANKS - 1).bit_length()
COLUMN_BITS = (COLUMNS - 1).bit_length()
ECC_BITS = BEAT_BYTES // WORD_BYTES * CHECK_BITS  # beside a beat


class RowCommand(enum.Enum, shape=3):
    """A command on the row bus; ALL of them concern `row_bank`, or every bank."""

    NONE = 0
    ACT = 1
    PRE = 2
    PRE_ALL = 3
    REF_ALL = 4
    REF_BANK = 5


class ColumnCommand(enum.Enum, shape=2):
    """A command on the column bus."""

    NONE = 0
    READ = 1
    WRITE = 2


def row_bits(generation: HbmGeneration) -> int:
    """Bits of a row's number in its bank."""
    return (generation.rows - 1).bit_length()


def place_layout(generation: HbmGeneration) -> data.StructLayout:
    """A column of 32 bytes: bank (bank group in the upper two bits), row, column in the row."""
    bits = {"bank": BANK_BITS, "row": row_bits(generation), "column": COLUMN_BITS}
    return data.StructLayout({name: unsigned(width) for name, width in bits.items()})


class DevicePort(wiring.Signature):
    """Buses of a pseudo-channel, seen from the controller; all change with the command clock CK.

    Members
    -------
    row_cmd, row_bank, row_addr : row bus, `RowCommand`
    col_cmd, col_bank, col_addr : column bus, `ColumnCommand`
    wdata, wmask : two beats, CWL and CWL + 1 cycles after their WRITE; mask 1: write the byte
    rdata : two beats, CL and CL + 1 cycles after their READ; anything in other cycles
    wecc, recc : with each beat the check bits of its words (`isa.secded`), where memory has them
    """

    def __init__(self, generation: HbmGeneration):
        super().__init__(
            {
                "row_cmd": Out(RowCommand),
                "row_bank": Out(BANK_BITS),
                "row_addr": Out(row_bits(generation)),
                "col_cmd": Out(ColumnCommand),
                "col_bank": Out(BANK_BITS),
                "col_addr": Out(COLUMN_BITS),
                "wdata": Out(8 * BEAT_BYTES),
                "wmask": Out(BEAT_BYTES),
                "rdata": In(8 * BEAT_BYTES),
                "wecc": Out(ECC_BITS),
                "recc": In(ECC_BITS),
            }
        )
