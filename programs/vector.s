# The vector unit: every instruction, every type of source and result, odd sizes, special values.
# Operands of 7 rows and 19 columns; results lie 0x300 bytes apart in SRAM and are stored as a block
# at HBM 0x10000.
.config tiny
.random 0x0000 f32 168 31                # F: rows of 24 values (96 bytes)
.random 0x0400 f32 168 32 100            # G
.random 0x0800 bf16 168 33               # H: rows of 24 values (48 bytes)
.random 0x0C00 f32 64 34                 # column operands: the first value of every 32 bytes
.random 0x1000 bf16 600 35 3             # A and W of a product, for the accumulators
# Special values against each other: zeros, infinities, NaNs, subnormals, greatest and least numbers
.u32 0x1800  0 0x80000000 0x7F800000 0xFF800000 0x7FC00000 0xFFC00001 0x7F800001 1
.u32 0x1820  0x80000001 0x007FFFFF 0x00800000 0x80800000 0x7F7FFFFF 0xFF7FFFFF 0x3F800000 0xBF800000
.u32 0x1840  0x00800001 0x80FFFFFF 0x34000000 0x42FE0000 0xC2FC0000 0x43000000 0xC3160000 0x5F000000
.u32 0x1860  0x80000000 0 0xFF800000 0x7F800000 0x7F800000 1 0x3F000000 0xBF000000
.u32 0x1880  0x3F000000 0x3F7FFFFF 0xBF800000 0x80FFFFFF 0x7F7FFFFF 0x7F7FFFFF 0x80000000 0x00800000
.u32 0x18A0  0x80800000 0x00800001 0xFFC12345 0x7F800000 0 0x3EFFFFFF 0x42FC0000 0xDF000000
.code 0x8000
.memory 0x20000
.equ F 0x000
.equ G 0x400
.equ H 0x800
.equ COL 0xC00
.equ A 0x1000
.equ X 0x1800
.equ Y 0x1860

    load hbm=0, sram=0, rows=1, bytes=0x18C0  signal(s1, s2)
# Accumulator rows 3 to 29: the product of 7 x 16 by 16 x 24 in three panels, then six rows more
    matmul acc=3, a=A, astride=32, w=0x1100, wstride=48, wpanel=16, m=7, k=16, n=24  wait(s2)
    matmul acc=24, a=A, astride=16, w=0x1200, wstride=16, m=6, k=8, n=8  signal(s3)
    vnop wait(s1, s3)

# conversions
    vmov dst=0x2000, dstride=96, a=F, astride=96, rows=7, cols=19
    vmov dst=0x2300, dstride=48, a=F, astride=96, rows=7, cols=19, dt=bf16
    vmov dst=0x2600, dstride=96, a=H, astride=48, rows=7, cols=19, at=bf16
    vmov dst=0x2900, dstride=48, a=H, astride=48, rows=7, cols=19, at=bf16, dt=bf16
    vmov dst=0x2C00, dstride=96, a=3, astride=7, rows=7, cols=19, at=acc
    vmov dst=0x2F00, dstride=48, a=3, astride=7, rows=7, cols=19, at=acc, dt=bf16
    vmov dst=0x3200, a=X, rows=1, cols=24
    vmov dst=0x3280, a=X, rows=1, cols=24, dt=bf16
    vmov dst=0x3300, dstride=16, a=X, astride=16, rows=12, cols=5, at=bf16, dt=bf16

# two operands: types of b, rows of b, constants
    vadd dst=0x3500, dstride=96, a=F, astride=96, b=G, bstride=96, rows=7, cols=19
    vadd dst=0x3800, dstride=96, a=F, astride=96, b=H, bstride=48, rows=7, cols=19, bt=bf16
    vadd dst=0x3B00, dstride=48, a=H, astride=48, b=COL, bstride=32, rows=7, cols=19, dt=bf16, at=bf16, bt=col
    vadd dst=0x3E00, dstride=96, a=3, astride=7, b=-1.5f, rows=7, cols=19, at=acc, bt=scalar
    vsub dst=0x4100, dstride=96, a=F, astride=96, b=G, bstride=0, rows=7, cols=19
    vsub dst=0x4400, dstride=48, a=3, astride=7, b=H, bstride=48, rows=7, cols=19, dt=bf16, at=acc, bt=bf16
    vsub dst=0x4700, dstride=96, a=H, astride=48, b=G, bstride=96, rep=3, rows=7, cols=19, at=bf16
    vsub dst=0x4A00, dstride=96, a=F, astride=96, b=0.3333f, rows=7, cols=19, bt=scalar
    vmul dst=0x4D00, dstride=48, a=F, astride=96, b=G, bstride=96, rep=2, rows=7, cols=19, dt=bf16
    vmul dst=0x5000, dstride=96, a=3, astride=7, b=COL, bstride=32, rep=4, rows=7, cols=19, at=acc, bt=col
    vmul dst=0x5300, dstride=96, a=H, astride=48, b=H, bstride=48, rows=7, cols=17, at=bf16, bt=bf16
    vmul dst=0x5600, dstride=48, a=H, astride=48, b=1e-38f, rows=7, cols=19, dt=bf16, at=bf16, bt=scalar
    vmax dst=0x5900, dstride=96, a=F, astride=96, b=H, bstride=48, rep=7, rows=7, cols=19, bt=bf16
    vmax dst=0x5C00, dstride=48, a=3, astride=7, b=G, bstride=96, rows=7, cols=24, dt=bf16, at=acc
    vmin dst=0x5F00, dstride=96, a=F, astride=96, b=COL, bstride=0, rows=7, cols=19, bt=col
    vmin dst=0x6200, dstride=96, a=H, astride=48, b=0.25f, rows=7, cols=19, at=bf16, bt=scalar
    vsub dst=0x9F00, dstride=96, a=F, astride=96, b=COL, bstride=32, rep=2, rows=7, cols=9, bt=col
    vmax dst=0xA200, dstride=96, a=H, astride=48, b=COL, bstride=32, rows=7, cols=19, at=bf16, bt=col
    vmax dst=0xA500, dstride=96, a=F, astride=96, b=0f, rows=7, cols=19, bt=scalar
    vmin dst=0xA800, dstride=48, a=3, astride=7, b=G, bstride=96, rows=7, cols=19, dt=bf16, at=acc
    vmin dst=0xAB00, dstride=96, a=3, astride=7, b=H, bstride=48, rep=5, rows=7, cols=19, at=acc, bt=bf16

# special values in every operation
    vadd dst=0x6500, a=X, b=Y, rows=1, cols=24
    vsub dst=0x6580, a=X, b=Y, rows=1, cols=24
    vmul dst=0x6600, a=X, b=Y, rows=1, cols=24
    vmax dst=0x6680, a=X, b=Y, rows=1, cols=24
    vmin dst=0x6700, a=X, b=Y, rows=1, cols=24
    vexp2 dst=0x6780, a=X, rows=1, cols=24
    vrecip dst=0x6800, a=X, rows=1, cols=24
    vrsqrt dst=0x6880, a=X, rows=1, cols=24
    vsum dst=0x6900, dstride=32, a=X, astride=32, rows=6, cols=8
    vrmax dst=0x6A00, dstride=32, a=X, astride=32, rows=6, cols=8
    vmul dst=0x6B00, dstride=32, a=X, astride=32, b=0x00400000, rows=3, cols=8, bt=scalar   # subnormal: 0

# special functions
    vexp2 dst=0x6C00, dstride=96, a=G, astride=96, rows=7, cols=19
    vexp2 dst=0x6F00, dstride=48, a=H, astride=48, rows=7, cols=19, dt=bf16, at=bf16
    vexp2 dst=0x7200, dstride=96, a=3, astride=7, rows=7, cols=19, at=acc
    vrecip dst=0x7500, dstride=96, a=F, astride=96, rows=7, cols=19
    vrecip dst=0x7800, dstride=48, a=3, astride=7, rows=7, cols=19, dt=bf16, at=acc
    vrecip dst=0x7B00, dstride=96, a=H, astride=48, rows=7, cols=19, at=bf16
    vrsqrt dst=0x7E00, dstride=96, a=F, astride=96, rows=7, cols=19
    vrsqrt dst=0x8100, dstride=48, a=H, astride=48, rows=7, cols=19, dt=bf16, at=bf16
    vrsqrt dst=0x8400, dstride=96, a=3, astride=7, rows=7, cols=19, at=acc

# reductions: more than a vector, less than a vector, one column; as bf16
    vsum dst=0x8700, dstride=32, a=F, astride=96, rows=7, cols=19
    vsum dst=0x8800, dstride=16, a=H, astride=48, rows=7, cols=24, dt=bf16, at=bf16
    vsum dst=0x8880, dstride=32, a=3, astride=7, rows=7, cols=19, at=acc
    vsum dst=0x8980, dstride=32, a=F, astride=96, rows=7, cols=3
    vrmax dst=0x8A80, dstride=32, a=G, astride=96, rows=7, cols=19
    vrmax dst=0x8B80, dstride=16, a=H, astride=48, rows=7, cols=1, dt=bf16, at=bf16
    vrmax dst=0x8C00, dstride=32, a=3, astride=7, rows=7, cols=23, at=acc

# masks: limits that grow from row to row, from 0 and from the middle; rotations
    vmask dst=0x8D00, dstride=96, a=F, astride=96, b=0xFF800000, rep=14, rows=7, cols=19
    vmask dst=0x9000, dstride=48, a=H, astride=48, b=-7.25f, rep=0, rows=7, cols=19, dt=bf16, at=bf16
    vmask dst=0x9300, dstride=96, a=3, astride=7, b=0f, rep=3, rows=7, cols=19, at=acc
    vrot dst=0x9600, dstride=32, a=F, astride=96, rep=3, rows=7, cols=8
    vrot dst=0x9700, dstride=16, a=H, astride=48, rep=2, rows=7, cols=5, dt=bf16, at=bf16
    vrot dst=0x9780, dstride=96, a=F, astride=96, rep=16, rows=7, cols=24
    vrot dst=0x9A80, dstride=96, a=3, astride=7, rep=8, rows=7, cols=24, at=acc
    vrot dst=0x9D80, dstride=32, a=24, astride=0, rep=0, rows=6, cols=7, at=acc

# in place, again and again: each instruction reads what the one before wrote
    vadd dst=0x2000, dstride=96, a=0x2000, astride=96, b=0x2000, bstride=96, rows=7, cols=19
    vmul dst=0x2000, dstride=96, a=0x2000, astride=96, b=G, bstride=0, rows=6, cols=19
    vrot dst=0x2000, dstride=96, a=0x2000, astride=96, rep=7, rows=7, cols=8
    vexp2 dst=0x2300, dstride=48, a=0x2300, astride=48, rows=7, cols=19, dt=bf16, at=bf16
    vsum dst=0x2000, dstride=96, a=0x2000, astride=96, rows=7, cols=19
    vsub dst=0x2600, dstride=96, a=0x2600, astride=96, b=0x2000, bstride=96, rows=7, cols=19, bt=col
    vadd dst=0x2C00, a=0x2C00, b=0x2C60, rows=1, cols=19
    vadd dst=0x2C60, a=0x2C00, b=0x2CC0, rows=1, cols=19
    vmax dst=0x2CC0, a=0x2C60, b=0x2C00, rows=1, cols=19  signal(s4)
    store hbm=0x400, sram=0x2000, rows=1, bytes=0x8DC0  wait(s4)
    halt
