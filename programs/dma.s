# Load, store and gather: rows, planes, strides, long bursts, registers as operands, both engines at once.
# SRAM is a place to rearrange: the copies in HBM from 0x20000 on are the result.
.config tiny
.random 0x0000 f32 5000 11
.u32 0x5000 7 0 7 3 100 41 5 2 19
.code 0x10000
.memory 0x40000

# One long row: crosses 4 KiB boundaries, starts at an odd atom
    load hbm=1, sram=0x1000, rows=1, bytes=10016                  signal(s1)
    store hbm=0x801, sram=0x1000, rows=1, bytes=10016  wait(s1)   signal(s2)

# 2-D: 7 rows of 96 bytes, 3 atoms apart, to rows 160 bytes apart; and back, rows closer together
    load hbm=0x20, hstride=3, sram=0x4000, sstride=160, rows=7, bytes=96  signal(s1)
    store hbm=0xC01, hstride=2, sram=0x4000, sstride=160, rows=7, bytes=96  wait(s1)  signal(s2)

# One line a row: a gather of every fifth atom; stored as one block
    load hbm=3, hstride=5, sram=0x6000, sstride=32, rows=33, bytes=32  signal(s1)
    store hbm=0xD00, sram=0x6000, rows=1, bytes=1056  wait(s1)  signal(s2)

# hstride 0: one row to many places; sstride 0: one line to many rows of HBM
    load hbm=9, hstride=0, sram=0x7000, sstride=64, rows=5, bytes=64  signal(s1)
    store hbm=0xE00, hstride=1, sram=0x7000, sstride=0, rows=9, bytes=32  wait(s1)  signal(s2)

# Registers decide the sizes
    add rd=r1, x=0x30
    add rd=r2, x=3
    mul rd=r3, rs=r2, x=64
    load hbm=r1, hstride=r2, sram=0x8000, sstride=r3, rows=r2, bytes=r3  signal(s1)
    add rd=r4, x=0xF00
    store hbm=r4, hstride=r2, sram=0x8000, sstride=r3, rows=r2, bytes=r3  wait(s1)  signal(s2)

# Three dimensions, rows that begin and end at any byte: 2 planes of 3 rows
    load hbm=0x40, hstride=2, sram=0xC000, sstride=64, rows=3, bytes=37, offset=21, planes=2, hplane=9, splane=256  signal(s1)
    store hbm=0xB00, hstride=1, sram=0xC000, sstride=64, rows=3, bytes=37, offset=59, planes=2, hplane=4, splane=256  wait(s1)

# What was stored comes back: the load waits until memory has it, two signals at a time
    lnop  wait(s2*3)
    lnop  wait(s2*2)
    load hbm=0x801, sram=0x9000, rows=1, bytes=10016  signal(s3, s4)
    snop  wait(s3, s4)
    store hbm=0xA01, sram=0x9000, rows=1, bytes=10016

# Rows by number, of a table whose rows are 3 atoms apart; the list comes from memory too.
# The checker does not know the rows: all that is stored must be there before.
    sync
    load hbm=0x140, sram=0xB000, rows=1, bytes=36
    gather hbm=1, hstride=3, sram=0xB040, sstride=64, rows=9, bytes=50, offset=5, hplane=0xB000  signal(s1)
    store hbm=0xB40, hstride=1, sram=0xB040, sstride=64, rows=9, bytes=50  wait(s1)
    halt
