# The matrix unit: odd sizes, several tiles in every dimension, both layouts, accumulation, one row.
# Every product is moved from the accumulators to SRAM and stored at HBM 0x20000 and up.
.config tiny
.random 0x0000 bf16 600 21              # A: rows of 24 values (48 bytes)
.random 0x1000 bf16 600 22              # W: rows of 24 values
.random 0x2000 bf16 600 23 40           # W in panels: rows of 8 values (two rows a line), outliers
.bf16   0x3000 1e38 -3e38 1e-38 -2e-30 0 -0 1 -1  3 1e-39 2e38 -1e-20 1e20 0.5 -0.25 7
.bf16   0x3020 2e38 -3e38 3e-38 2e-10 5 -1 1e-8 -1  3 1e-20 2e8 -1e-20 1e18 0.5 -0.25 7
.code 0x8000
.memory 0x40000

    load hbm=0x00, sram=0x0000, rows=1, bytes=1216              signal(s1)
    load hbm=0x40, sram=0x1000, rows=1, bytes=1216              signal(s1)
    load hbm=0x80, sram=0x2000, rows=1, bytes=1216              signal(s1)
    load hbm=0xC0, sram=0x3000, rows=1, bytes=64                signal(s2)

# (5 x 19) (19 x 21): three tiles deep, three panels wide, panels side by side in a row
    matmul acc=0, a=0, astride=48, w=0x1000, wstride=48, wpanel=16, m=5, k=19, n=21  wait(s1*3) signal(s3)
# the same A, with A's first 9 rows as a transposed W: (5 x 19) (19 x 9)
    matmul acc=15, a=0, astride=48, w=0, wstride=48, wpanel=384, m=5, k=19, n=9, layout=transposed  signal(s3)
# panels behind each other: weights enter two rows a cycle; more rows than the array has
    matmul acc=25, a=0, astride=48, w=0x2000, wstride=16, wpanel=400, m=11, k=24, n=17  signal(s3)
# one row, as in decoding; then twice more on top of it
    matmul acc=58, a=96, astride=48, w=0x2000, wstride=16, wpanel=400, m=1, k=24, n=24  signal(s3)
    matmul acc=58, a=144, w=0x1000, wstride=48, wpanel=16, m=1, k=7, n=24, mode=accumulate  signal(s3)
    matmul acc=58, a=0, w=0x0030, wstride=48, wpanel=384, m=1, k=20, n=23, layout=transposed, mode=accumulate  signal(s3)
# the smallest product; one column; one row of weights
    matmul acc=61, a=48, w=0x1000, m=1, k=1, n=1                 signal(s3)
    matmul acc=62, a=48, astride=48, w=0x1000, wstride=48, m=3, k=8, n=1  signal(s3)
    matmul acc=65, a=0, astride=16, w=0x2000, wpanel=16, m=9, k=1, n=15   signal(s3)
# overflow, subnormal products, infinities minus infinities
    matmul acc=83, a=0x3000, astride=16, w=0x3020, wstride=16, m=2, k=2, n=8  wait(s2) signal(s3)
    matmul acc=85, a=0x3000, astride=16, w=0x3000, wstride=16, m=4, k=8, n=4, layout=transposed signal(s3)

    vmov dst=0x4000, dstride=96, a=0, astride=5, rows=5, cols=21, at=acc        wait(s3*3)
    vmov dst=0x4200, dstride=64, a=15, astride=5, rows=5, cols=9, at=acc        wait(s3*3)
    vmov dst=0x4400, dstride=96, a=25, astride=11, rows=11, cols=17, at=acc     wait(s3*3)
    vmov dst=0x4900, a=58, astride=1, rows=1, cols=24, at=acc                   wait(s3*2)
    vmov dst=0x4A00, dstride=32, a=61, rows=24, cols=8, at=acc                  # single rows
    vmov dst=0x4E00, dstride=32, a=83, rows=6, cols=7, at=acc                   signal(s4)
    store hbm=0x800, sram=0x4000, rows=1, bytes=4096                            wait(s4)
    halt
