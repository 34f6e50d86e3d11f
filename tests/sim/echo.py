"""A decoder written by hand: its logits and cache rows are rows of two tables, chosen by the token.

Vocabulary 16, context 16, one cache of 2 heads with 4 elements. The likeliest token after t is
(5 t + 3) mod 16.
"""

from dataclasses import replace

import numpy as np

from isa.assembler import assemble
from isa.image import ProgramImage
from isa.iomap import IoMap, Tensor
from isa.numbers import to_bf16

VOCABULARY = CONTEXT = 16
TEXT = """
.config tiny
.memory 0x3000
.code 0x2800
    ld rd=r1                                  # new tokens
    ld rd=r2, y=4                             # past tokens
token:
    shl rd=r4, rs=r3, x=2
    ld rd=r5, x=4, y=r4
    add rd=r6, rs=r5, x=16
    load hbm=r6, sram=0, rows=1, bytes=64  signal(s1)
    add rd=r7, rs=r3, x=128
    store hbm=r7, sram=0, rows=1, bytes=64  wait(s1)  signal(s2)
    add rd=r6, rs=r5, x=32
    load hbm=r6, sram=0, rows=1, bytes=64  wait(s2)  signal(s1)
    add rd=r7, rs=r3, x=r2
    add rd=r7, rs=r7, x=64
    store hbm=r7, sram=0, rows=1, bytes=64  wait(s1)
    sync
    add rd=r3, rs=r3, x=1
    blt rs=r3, x=r1, y=token
    halt
"""


def next_token(token: int) -> int:
    return (5 * token + 3) % VOCABULARY


def logits_table() -> np.ndarray:
    """(16, 16) float32, row t for token t."""
    table = np.random.default_rng(1).uniform(-1, 1, (16, 16)).astype(np.float32)
    for token in range(16):
        table[token, next_token(token)] = 2
    return table


def cache_table() -> np.ndarray:
    """(16, 2, 4) float32 with values of bf16."""
    return np.random.default_rng(2).integers(-99, 99, (16, 2, 4)).astype(np.float32)


def echo_image() -> ProgramImage:
    image = assemble(TEXT, "echo.s")
    hbm = np.zeros(0xC00, np.uint8)
    hbm[0x400:0x800] = logits_table().view(np.uint8).reshape(-1)
    rows = np.zeros((16, 2, 16), np.uint16)
    rows[:, :, :4] = to_bf16(cache_table())
    hbm[0x800:] = rows.view(np.uint8).reshape(-1)
    tensors = (
        Tensor("input_ids", "tokens", 0x100, 4, 1, "int32", 16, "int64", limit=16),
        Tensor("attention_mask", "mask", 0, 0, 1, "int32", 16, "int64"),
        Tensor("position_ids", "positions", 0x140, 4, 1, "int32", 16, "int64", limit=16),
        Tensor("past.0", "kv", 0x1000, 64, 4, "bf16", 16, "float32", 2, 32, "present.0"),
        Tensor("logits", "output", 0x2000, 64, 16, "f32", 16, "float32"),
    )
    io = IoMap(0, 4, CONTEXT, tensors)
    return replace(image, hbm=hbm, io=io, nodes=[(0, ""), (3, 'node "Gather_0" (Gather)')])
