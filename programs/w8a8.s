# A linear layer in W8A8 on an int8 chip, with nothing done by the host: the vector unit finds every
# token's scale, quantises it, and applies both scales to the exact int32 sums.
# X (7 tokens of 40) is fp32; W (40 x 24, int8, panels of 8 columns) has a scale for each column.
.config tiny,hbm=,element=int8,rows=4,cols=8,lanes=4,axi_bytes=8,sram_bytes=32768,acc_rows=128,load_bursts=3
.random 0x0000 f32 272 51                # X, 7 rows of 160 bytes
.f32    0x00A0  0 40.5 -0.001 0          # an outlier in token 1
.f32    0x0140  0 0 0 0 0 0 0 0 0 0  0 0 0 0 0 0 0 0 0 0  0 0 0 0 0 0 0 0 0 0  0 0 0 0 0 0 0 0 0 0  # token 2
.random 0x0500 i8 960 52 50              # W: three panels of 40 rows of 8 bytes
.random 0x0900 f32 24 53 0.01            # scales of the columns
.code 0x4000
.memory 0x8000
.equ X 0
.equ W 0x500
.equ COLUMN 0x900
.equ T 0x1000                            # |X|, later the codes of X
.equ SCALE 0x1800                        # of each token, a vector a row
.equ RECIP 0x1900
.equ Y 0x2000

    load hbm=0, sram=0, rows=1, bytes=0x960  signal(s0, s1)
    vnop wait(s0)
# scale = max |x| / 127, and its reciprocal
    vabs dst=T, dstride=160, a=X, astride=160, rows=7, cols=40
    vrmax dst=SCALE, dstride=16, a=T, astride=160, rows=7, cols=40
    vmul dst=SCALE, dstride=16, a=SCALE, astride=16, b=0.007874016f, bt=scalar, rows=7, cols=1
    vrecip dst=RECIP, dstride=16, a=SCALE, astride=16, rows=7, cols=1
# codes: a token of zeros gives 0 * inf = NaN, which becomes 0
    vmul dst=T, dstride=40, a=X, astride=160, b=RECIP, bstride=16, bt=col, dt=i8, rows=7, cols=40  signal(s2)
    matmul acc=0, a=T, astride=40, w=W, wstride=8, wpanel=320, m=7, k=40, n=24, af=i8, wf=i8  wait(s1, s2) signal(s3)
    vmul dst=Y, dstride=96, a=0, astride=7, at=acc, b=SCALE, bstride=16, bt=col, rows=7, cols=24  wait(s3)
    vmul dst=Y, dstride=96, a=Y, astride=96, b=COLUMN, bstride=0, rows=7, cols=24  signal(s4)
    store hbm=0x40, sram=Y, rows=1, bytes=672  wait(s4)
    store hbm=0x60, sram=T, rows=1, bytes=288  # the codes, for curiosity
    store hbm=0x70, sram=SCALE, rows=1, bytes=128
    halt
