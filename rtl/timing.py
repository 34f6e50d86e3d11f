"""What the core's time depends on beside its configuration: depths, stages, patience.

The RTL is built from these numbers, the cycle model (`sim.cycle`) counts with them. Cycles of the
memory's devices are those of its generation (`isa.hbm`). Pure data: nothing of Amaranth.
"""

FETCH_DEPTH = 128  # instructions in the sequencer's buffer
FETCH_BURST = 32  # instructions that are requested together: 1 KiB, never across 4 KiB
FETCH_AHEAD = FETCH_DEPTH // 2  # the rest stays behind the program counter, for loops
ACC_BANKS = 2  # of a column of accumulators: the array adds in one, the vector unit reads another
COMMANDS_AT_WORK = 2  # of an engine: begun, and not yet retired
CHECK_STAGES = 3  # registers of the legality check
DIVIDE_CYCLES = 16  # of its division, one for each bit of a number of rows, and one to begin
READER_DEPTH = 4  # lines that are requested ahead of who takes them
OPERAND_DEPTH = 4  # vectors of a source that are asked for or wait: they hide the port's latency
SPECIAL_CYCLES = 3  # stages of the special functions
GATHER_STAGES = 3  # from a row's number to its place: number, product, place
HBM_ORDER_DEPTH = 512  # pieces of bursts under way, of reads and of writes: they hide latency
HBM_SLOTS = 2  # of a controller, for each access of its window and direction
HBM_PATIENCE = 400  # cycles that the oldest access may be passed over
REFRESH_IDLE_CYCLES = 16  # without accesses, until a refresh that is due is made at once
REFRESH_POSTPONED = 7  # at most; a later one could miss the standard's 8


def rows_ahead(rows: int, group: int) -> int:
    """By how many cycles a tile's load may begin before the swap of the last tile has passed the
    array's last row, of ``rows`` that come in groups of ``group``, one group a cycle.

    The swap passes a row a cycle. Of a group, row i comes i cycles late, so that the last group,
    rows / group - 1 cycles behind the first, must not be met by the swap at its first row.
    """
    return (rows - 1) // group + group - 1


def bank_digit_bits(banks: int) -> int:
    """Width of the digits of an SRAM line's number whose sum, modulo ``banks``, is its bank.

    One bit more than a bank's number: a run of 2 banks lines goes from bank to bank without a
    break, and rows at any distance that is a power of two spread over all banks.
    """
    return banks.bit_length()
