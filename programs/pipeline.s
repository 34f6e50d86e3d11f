# All engines at once: Y = (X W) scaled, relu, row by row block, in a loop with two buffers a side.
# The loop's trip count and all addresses are in registers: the words at HBM 0 and 4 say how many
# blocks and how many rows a block has. Result: sums of rows at HBM 0x20000, Y (bf16) at 0x30000.
#
#   s0  load: X block is there         -> matrix      s1  matrix: X buffer is free    -> load
#   s2  matrix: product is there       -> vector      s3  vector: accumulators free   -> matrix
#   s4  vector: Y block is there       -> store       s5  store: Y buffer is free     -> vector
#   s6  load: W is there               -> matrix      s7  sequencer: results may be written -> store
.config tiny
.u32 0x0  6 3                            # blocks, rows in a block
.random 0x1000 bf16 1600 41              # X: rows of 32 values, one atom each
.random 0x4000 bf16 1024 42              # W: 19 rows of 32 values
.code 0x8000
.memory 0x40000
.equ XBUF 0x0000                         # two buffers of 0x400 bytes
.equ YBUF 0x2000                         # bf16, two buffers of 0x400 bytes
.equ SBUF 0x3000                         # sums, two buffers of 0x400 bytes
.equ TMP 0x4000
.equ W 0x6000

    load hbm=0x100, sram=W, rows=1, bytes=0x4C0  signal(s6)
    ld   rd=r1, y=0                      # blocks
    ld   rd=r2, y=4                      # rows
    lnop signal(s0)                      # two dummy blocks, so that ...
    mnop wait(s0, s6) signal(s1, s1, s2)
    vnop wait(s2) signal(s3, s3, s4)
    snop wait(s4) signal(s5, s5)
    add  rd=r3, x=0                      # block
    add  rd=r4, x=0x40                   # its X, in atoms
    add  rd=r10, x=0x800                 # its sums
    add  rd=r11, x=0xC00                 # its Y
    add  rd=r7, rs=r2, x=r2              # accumulator rows of a block: three panels
    add  rd=r7, rs=r7, x=r2
    add  signal(s7)
block:
    and  rd=r5, rs=r3, x=1
    mul  rd=r6, rs=r5, x=0x400           # offset of its buffers
    mul  rd=r8, rs=r5, x=r7              # its accumulators
    add  rd=r9, rs=r6, x=XBUF
    load hbm=r4, hstride=1, sram=r9, sstride=64, rows=r2, bytes=64  wait(s1)  signal(s0)
    matmul acc=r8, a=r9, astride=64, w=W, wstride=64, wpanel=16, m=r2, k=19, n=21  wait(s0, s3)  signal(s1, s2)
    add  rd=r12, rs=r6, x=YBUF
    add  rd=r13, rs=r6, x=SBUF
    vmul dst=TMP, dstride=96, a=r8, astride=r2, b=0.125f, rows=r2, cols=21, at=acc, bt=scalar  wait(s2, s5)  signal(s3)
    vmax dst=r12, dstride=64, a=TMP, astride=96, b=0f, rows=r2, cols=21, dt=bf16, bt=scalar
    vsum dst=r13, dstride=32, a=TMP, astride=96, rows=r2, cols=21  signal(s4)
    store hbm=r10, hstride=1, sram=r13, sstride=32, rows=r2, bytes=32  wait(s4)
    store hbm=r11, hstride=1, sram=r12, sstride=64, rows=r2, bytes=64  signal(s5)
    add  rd=r3, rs=r3, x=1
    add  rd=r4, rs=r4, x=r2
    add  rd=r10, rs=r10, x=r2
    add  rd=r11, rs=r11, x=r2
    blt  rs=r3, x=r1, y=block
    lnop wait(s1*2)                      # take back what the buffers' last users gave
    mnop wait(s3*2)
    vnop wait(s5*2)
    snop wait(s7)
    sync
# Results of the loop come back through memory, behind sync: no semaphore needed
    load hbm=0x800, hstride=1, sram=0x8000, sstride=32, rows=18, bytes=32
    sync
    vrmax dst=0x9000, dstride=32, a=0x8000, astride=32, rows=18, cols=8
    sync
    store hbm=0xE00, sram=0x9000, rows=1, bytes=576
    halt
