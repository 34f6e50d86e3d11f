# Every type of the vector unit's sources and results under every instruction, and every storage
# format of weights. The values mean nothing: what counts is that all back ends agree on them.
.config tiny
.random 0x0000 f32 32 71 3               # two rows of 16 values of each type
.random 0x0080 bf16 32 72 3
.random 0x00C0 i8 32 73 40
.random 0x00E0 e4m3 32 74 3
.random 0x0100 e5m2 32 75 3
.random 0x0200 bf16 240 76               # A: 3 rows of 40
.random 0x0400 i8 1280 77 20             # W, whatever its format: two panels
.u32 0x0400  0x7F7E7F80 0x817F7E80 0x7F7E7D80 0x807F7F7F   # the first scales: around 1 in E8M0
.code 0x8000
.memory 0x20000

    load hbm=0, sram=0, rows=1, bytes=0x900  signal(s0, s1)
# accumulator rows 0 to 53: nine products of 3 x 40 by 40 x 12, one for each format
    matmul acc=0, a=0x200, astride=80, w=0x400, wstride=16, wpanel=640, m=3, k=40, n=12, wf=bf16  wait(s0)
    matmul acc=6, a=0x200, astride=80, w=0x400, wstride=8, wpanel=320, m=3, k=40, n=12, wf=e4m3
    matmul acc=12, a=0x200, astride=80, w=0x400, wstride=8, wpanel=320, m=3, k=40, n=12, wf=e5m2
    matmul acc=18, a=0x200, astride=80, w=0x400, wstride=8, wpanel=320, m=3, k=40, n=12, wf=i8
    matmul acc=24, a=0x200, astride=80, w=0x400, wstride=4, wpanel=192, m=3, k=40, n=12, wf=i4
    matmul acc=30, a=0x200, astride=80, w=0x400, wstride=8, wpanel=352, m=3, k=40, n=12, wf=mxfp8
    matmul acc=36, a=0x200, astride=80, w=0x400, wstride=8, wpanel=352, m=3, k=40, n=12, wf=mxfp8_e5m2
    matmul acc=42, a=0x200, astride=80, w=0x400, wstride=4, wpanel=192, m=3, k=40, n=12, wf=mxfp4
    matmul acc=48, a=0x200, astride=80, w=0x400, wstride=4, wpanel=192, m=3, k=40, n=12, wf=nvfp4  signal(s2)
    vnop wait(s1, s2)

# vadd
    vadd dst=0x1000, dstride=32, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=bf16, b=0x000, bstride=64
    vadd dst=0x1080, dstride=16, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=i8, b=0x000, bstride=64
    vadd dst=0x1100, dstride=16, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=e4m3, b=0x000, bstride=64
    vadd dst=0x1180, dstride=16, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=e5m2, b=0x000, bstride=64
    vadd dst=0x1200, dstride=64, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=f32, b=0x000, bstride=64
    vadd dst=0x1280, dstride=32, a=12, astride=3, rows=2, cols=12, at=acc, dt=bf16, b=0x000, bstride=64
# vsub
    vsub dst=0x1300, dstride=16, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=i8, b=0x000, bstride=64
    vsub dst=0x1380, dstride=16, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=e4m3, b=0x000, bstride=64
    vsub dst=0x1400, dstride=16, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=e5m2, b=0x000, bstride=64
    vsub dst=0x1480, dstride=64, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=f32, b=0x000, bstride=64
    vsub dst=0x1500, dstride=32, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=bf16, b=0x000, bstride=64
    vsub dst=0x1580, dstride=16, a=12, astride=3, rows=2, cols=12, at=acc, dt=i8, b=0x000, bstride=64
# vmul
    vmul dst=0x1600, dstride=16, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=e4m3, b=0x000, bstride=64
    vmul dst=0x1680, dstride=16, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=e5m2, b=0x000, bstride=64
    vmul dst=0x1700, dstride=64, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=f32, b=0x000, bstride=64
    vmul dst=0x1780, dstride=32, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=bf16, b=0x000, bstride=64
    vmul dst=0x1800, dstride=16, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=i8, b=0x000, bstride=64
    vmul dst=0x1880, dstride=16, a=12, astride=3, rows=2, cols=12, at=acc, dt=e4m3, b=0x000, bstride=64
# vmax
    vmax dst=0x1900, dstride=16, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=e5m2, b=0x000, bstride=64
    vmax dst=0x1980, dstride=64, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=f32, b=0x000, bstride=64
    vmax dst=0x1A00, dstride=32, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=bf16, b=0x000, bstride=64
    vmax dst=0x1A80, dstride=16, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=i8, b=0x000, bstride=64
    vmax dst=0x1B00, dstride=16, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=e4m3, b=0x000, bstride=64
    vmax dst=0x1B80, dstride=16, a=12, astride=3, rows=2, cols=12, at=acc, dt=e5m2, b=0x000, bstride=64
# vmin
    vmin dst=0x1C00, dstride=64, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=f32, b=0x000, bstride=64
    vmin dst=0x1C80, dstride=32, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=bf16, b=0x000, bstride=64
    vmin dst=0x1D00, dstride=16, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=i8, b=0x000, bstride=64
    vmin dst=0x1D80, dstride=16, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=e4m3, b=0x000, bstride=64
    vmin dst=0x1E00, dstride=16, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=e5m2, b=0x000, bstride=64
    vmin dst=0x1E80, dstride=64, a=12, astride=3, rows=2, cols=12, at=acc, dt=f32, b=0x000, bstride=64
# vmov
    vmov dst=0x1F00, dstride=64, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=f32
    vmov dst=0x1F80, dstride=32, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=bf16
    vmov dst=0x2000, dstride=16, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=i8
    vmov dst=0x2080, dstride=16, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=e4m3
    vmov dst=0x2100, dstride=16, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=e5m2
    vmov dst=0x2180, dstride=64, a=12, astride=3, rows=2, cols=12, at=acc, dt=f32
# vabs
    vabs dst=0x2200, dstride=32, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=bf16
    vabs dst=0x2280, dstride=16, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=i8
    vabs dst=0x2300, dstride=16, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=e4m3
    vabs dst=0x2380, dstride=16, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=e5m2
    vabs dst=0x2400, dstride=64, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=f32
    vabs dst=0x2480, dstride=32, a=12, astride=3, rows=2, cols=12, at=acc, dt=bf16
# vexp2
    vexp2 dst=0x2500, dstride=16, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=i8
    vexp2 dst=0x2580, dstride=16, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=e4m3
    vexp2 dst=0x2600, dstride=16, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=e5m2
    vexp2 dst=0x2680, dstride=64, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=f32
    vexp2 dst=0x2700, dstride=32, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=bf16
    vexp2 dst=0x2780, dstride=16, a=12, astride=3, rows=2, cols=12, at=acc, dt=i8
# vrecip
    vrecip dst=0x2800, dstride=16, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=e4m3
    vrecip dst=0x2880, dstride=16, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=e5m2
    vrecip dst=0x2900, dstride=64, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=f32
    vrecip dst=0x2980, dstride=32, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=bf16
    vrecip dst=0x2A00, dstride=16, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=i8
    vrecip dst=0x2A80, dstride=16, a=12, astride=3, rows=2, cols=12, at=acc, dt=e4m3
# vrsqrt
    vrsqrt dst=0x2B00, dstride=16, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=e5m2
    vrsqrt dst=0x2B80, dstride=64, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=f32
    vrsqrt dst=0x2C00, dstride=32, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=bf16
    vrsqrt dst=0x2C80, dstride=16, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=i8
    vrsqrt dst=0x2D00, dstride=16, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=e4m3
    vrsqrt dst=0x2D80, dstride=16, a=12, astride=3, rows=2, cols=12, at=acc, dt=e5m2
# vsum
    vsum dst=0x2E00, dstride=64, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=f32
    vsum dst=0x2E80, dstride=32, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=bf16
    vsum dst=0x2F00, dstride=16, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=i8
    vsum dst=0x2F80, dstride=16, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=e4m3
    vsum dst=0x3000, dstride=16, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=e5m2
    vsum dst=0x3080, dstride=64, a=12, astride=3, rows=2, cols=12, at=acc, dt=f32
# vrmax
    vrmax dst=0x3100, dstride=32, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=bf16
    vrmax dst=0x3180, dstride=16, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=i8
    vrmax dst=0x3200, dstride=16, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=e4m3
    vrmax dst=0x3280, dstride=16, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=e5m2
    vrmax dst=0x3300, dstride=64, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=f32
    vrmax dst=0x3380, dstride=32, a=12, astride=3, rows=2, cols=12, at=acc, dt=bf16
# vargmax
    vargmax dst=0x3400, dstride=64, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=f32
    vargmax dst=0x3480, dstride=64, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=f32
    vargmax dst=0x3500, dstride=64, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=f32
    vargmax dst=0x3580, dstride=64, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=f32
    vargmax dst=0x3600, dstride=64, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=f32
    vargmax dst=0x3680, dstride=64, a=12, astride=3, rows=2, cols=12, at=acc, dt=f32
# vmask
    vmask dst=0x3700, dstride=16, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=e4m3, b=-1.5f, rep=3
    vmask dst=0x3780, dstride=16, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=e5m2, b=-1.5f, rep=3
    vmask dst=0x3800, dstride=64, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=f32, b=-1.5f, rep=3
    vmask dst=0x3880, dstride=32, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=bf16, b=-1.5f, rep=3
    vmask dst=0x3900, dstride=16, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=i8, b=-1.5f, rep=3
    vmask dst=0x3980, dstride=16, a=12, astride=3, rows=2, cols=12, at=acc, dt=e4m3, b=-1.5f, rep=3
# vmaskl
    vmaskl dst=0x3A00, dstride=16, a=0x000, astride=64, rows=2, cols=12, at=f32, dt=e5m2, b=-1.5f, rep=65534
    vmaskl dst=0x3A80, dstride=64, a=0x080, astride=32, rows=2, cols=12, at=bf16, dt=f32, b=-1.5f, rep=65534
    vmaskl dst=0x3B00, dstride=32, a=0x0C0, astride=16, rows=2, cols=12, at=i8, dt=bf16, b=-1.5f, rep=65534
    vmaskl dst=0x3B80, dstride=16, a=0x0E0, astride=16, rows=2, cols=12, at=e4m3, dt=i8, b=-1.5f, rep=65534
    vmaskl dst=0x3C00, dstride=16, a=0x100, astride=16, rows=2, cols=12, at=e5m2, dt=e4m3, b=-1.5f, rep=65534
    vmaskl dst=0x3C80, dstride=16, a=12, astride=3, rows=2, cols=12, at=acc, dt=e5m2, b=-1.5f, rep=65534
# vrot
    vrot dst=0x3D00, dstride=32, a=0x000, astride=32, rows=2, cols=7, at=f32, dt=f32, rep=3
    vrot dst=0x3D80, dstride=16, a=0x080, astride=16, rows=2, cols=7, at=bf16, dt=bf16, rep=3
    vrot dst=0x3E00, dstride=8, a=0x0C0, astride=8, rows=2, cols=7, at=i8, dt=i8, rep=3
    vrot dst=0x3E80, dstride=8, a=0x0E0, astride=8, rows=2, cols=7, at=e4m3, dt=e4m3, rep=3
    vrot dst=0x3F00, dstride=8, a=0x100, astride=8, rows=2, cols=7, at=e5m2, dt=e5m2, rep=3
    vrot dst=0x3F80, dstride=32, a=12, astride=3, rows=2, cols=7, at=acc, dt=f32, rep=3  signal(s3)
    store hbm=0x400, sram=0x1000, rows=1, bytes=0x3000  wait(s3)
    halt
