# What layers of transformers need beside products, each from a few instructions: LayerNorm, SiLU,
# GELU in both forms, soft-capping, softmax under a sliding causal window and under an arbitrary
# mask (rows without a key give zeros), argmax. Results are stored one behind the other.
.config tiny
.random 0x0000 f32 240 61 2              # X: 6 rows of 40
.random 0x0400 f32 40 62                 # gains
.random 0x0500 f32 40 63                 # biases
.u32 0x0600  0 0 0xFF800000 0 0 0xFF800000 0 0  0xFF800000 0 0 0 0 0 0 0   # mask of the rows 0 to 4
.u32 0x0640  0 0 0 0 0 0 0 0  0 0 0 0 0 0 0 0
.u32 0x0680  0xFF800000 0xFF800000 0xFF800000 0xFF800000 0xFF800000 0xFF800000 0xFF800000 0xFF800000
.u32 0x06A0  0xFF800000 0xFF800000 0xFF800000 0xFF800000 0xFF800000 0 0 0
.u32 0x06C0  0 0 0xFF800000 0 0 0xFF800000 0 0  0xFF800000 0xFF800000 0xFF800000 0xFF800000 0xFF800000 0 0 0
.u32 0x0700  0xFF800000 0 0 0 0 0 0 0  0 0 0 0 0 0 0 0
.code 0x8000
.memory 0x20000
.equ X 0x0
.equ GAIN 0x400
.equ BIAS 0x500
.equ MASK 0x600
.equ A 0x1000
.equ B 0x1400
.equ C 0x1800
.equ COL 0x1C00                          # one vector a row
.equ ONE 0x1D00
.equ OUT 0x2000                          # results of 960 bytes, 0x400 apart
.equ LOG2E 1.442695f
.equ MINUS_INF 0xFF800000

    load hbm=0, sram=0, rows=1, bytes=0x740  signal(s0)
    vnop wait(s0)

# LayerNorm(X) * gain + bias, epsilon 1e-5
    vsum dst=COL, dstride=32, a=X, astride=160, rows=6, cols=40
    vmul dst=COL, dstride=32, a=COL, astride=32, b=0.025f, bt=scalar, rows=6, cols=1
    vsub dst=A, dstride=160, a=X, astride=160, b=COL, bstride=32, bt=col, rows=6, cols=40
    vmul dst=B, dstride=160, a=A, astride=160, b=A, bstride=160, rows=6, cols=40
    vsum dst=COL, dstride=32, a=B, astride=160, rows=6, cols=40
    vmul dst=COL, dstride=32, a=COL, astride=32, b=0.025f, bt=scalar, rows=6, cols=1
    vadd dst=COL, dstride=32, a=COL, astride=32, b=0.00001f, bt=scalar, rows=6, cols=1
    vrsqrt dst=COL, dstride=32, a=COL, astride=32, rows=6, cols=1
    vmul dst=A, dstride=160, a=A, astride=160, b=COL, bstride=32, bt=col, rows=6, cols=40
    vmul dst=A, dstride=160, a=A, astride=160, b=GAIN, bstride=0, rows=6, cols=40
    vadd dst=0x2000, dstride=160, a=A, astride=160, b=BIAS, bstride=0, rows=6, cols=40

# SiLU: x / (1 + 2^(-x log2 e)); the rows lie behind each other, so that they are one of 240
    vmul dst=A, a=X, b=-1.442695f, bt=scalar, rows=1, cols=240
    vexp2 dst=A, a=A, rows=1, cols=240
    vadd dst=A, a=A, b=1f, bt=scalar, rows=1, cols=240
    vrecip dst=A, a=A, rows=1, cols=240
    vmul dst=0x2400, a=A, b=X, rows=1, cols=240

# GELU with tanh: x / (1 + 2^(-2 log2 e sqrt(2/pi) (x + 0.044715 x^3)))
    vmul dst=A, a=X, b=X, rows=1, cols=240
    vmul dst=A, a=A, b=0.044715f, bt=scalar, rows=1, cols=240
    vadd dst=A, a=A, b=1f, bt=scalar, rows=1, cols=240
    vmul dst=A, a=A, b=X, rows=1, cols=240
    vmul dst=A, a=A, b=-2.302208f, bt=scalar, rows=1, cols=240
    vexp2 dst=A, a=A, rows=1, cols=240
    vadd dst=A, a=A, b=1f, bt=scalar, rows=1, cols=240
    vrecip dst=A, a=A, rows=1, cols=240
    vmul dst=0x2800, a=A, b=X, rows=1, cols=240

# GELU with erf: max(x, 0) - |x|/2 erfc(|x|/sqrt 2), erfc by Abramowitz and Stegun 7.1.26:
# t (a1 + t (a2 + t (a3 + t (a4 + t a5)))) exp(-x^2/2), t = 1 / (1 + 0.3275911 |x| / sqrt 2)
    vabs dst=A, a=X, rows=1, cols=240
    vmul dst=B, a=A, b=0.23164189f, bt=scalar, rows=1, cols=240
    vadd dst=B, a=B, b=1f, bt=scalar, rows=1, cols=240
    vrecip dst=B, a=B, rows=1, cols=240
    vmul dst=C, a=B, b=1.061405429f, bt=scalar, rows=1, cols=240
    vadd dst=C, a=C, b=-1.453152027f, bt=scalar, rows=1, cols=240
    vmul dst=C, a=C, b=B, rows=1, cols=240
    vadd dst=C, a=C, b=1.421413741f, bt=scalar, rows=1, cols=240
    vmul dst=C, a=C, b=B, rows=1, cols=240
    vadd dst=C, a=C, b=-0.284496736f, bt=scalar, rows=1, cols=240
    vmul dst=C, a=C, b=B, rows=1, cols=240
    vadd dst=C, a=C, b=0.254829592f, bt=scalar, rows=1, cols=240
    vmul dst=C, a=C, b=B, rows=1, cols=240
    vmul dst=B, a=A, b=A, rows=1, cols=240
    vmul dst=B, a=B, b=-0.72134752f, bt=scalar, rows=1, cols=240
    vexp2 dst=B, a=B, rows=1, cols=240
    vmul dst=C, a=C, b=B, rows=1, cols=240
    vmul dst=A, a=A, b=0.5f, bt=scalar, rows=1, cols=240
    vmul dst=C, a=C, b=A, rows=1, cols=240
    vmax dst=A, a=X, b=0, bt=scalar, rows=1, cols=240
    vsub dst=0x2C00, a=A, b=C, rows=1, cols=240

# soft-capping: 3 tanh(x/3) = 6 / (1 + 2^(-2 log2 e x/3)) - 3
    vmul dst=A, a=X, b=-0.96179669f, bt=scalar, rows=1, cols=240
    vexp2 dst=A, a=A, rows=1, cols=240
    vadd dst=A, a=A, b=1f, bt=scalar, rows=1, cols=240
    vrecip dst=A, a=A, rows=1, cols=240
    vmul dst=A, a=A, b=6f, bt=scalar, rows=1, cols=240
    vsub dst=0x3000, a=A, b=3f, bt=scalar, rows=1, cols=240

# softmax of 6 queries behind 5 past tokens, each seeing its last 4 keys: columns r + 2 to r + 5
    vmask dst=A, dstride=160, a=X, astride=160, b=MINUS_INF, rep=6, rows=6, cols=11
    vmaskl dst=A, dstride=160, a=A, astride=160, b=MINUS_INF, rep=2, rows=6, cols=11
    vrmax dst=COL, dstride=32, a=A, astride=160, rows=6, cols=11
    vsub dst=A, dstride=160, a=A, astride=160, b=COL, bstride=32, bt=col, rows=6, cols=11
    vmul dst=A, dstride=160, a=A, astride=160, b=LOG2E, bt=scalar, rows=6, cols=11
    vexp2 dst=A, dstride=160, a=A, astride=160, rows=6, cols=11
    vsum dst=COL, dstride=32, a=A, astride=160, rows=6, cols=11
    vrecip dst=COL, dstride=32, a=COL, astride=32, rows=6, cols=1
    vmul dst=0x3400, dstride=64, a=A, astride=160, b=COL, bstride=32, bt=col, rows=6, cols=11

# softmax under an added mask of zeros and -inf; row 2 has no key. Two limits keep infinities
# from meeting: the maximum is finite, and a sum is at least the least normal number (any other sum
# is 1 or more).
    vadd dst=A, dstride=160, a=X, astride=160, b=MASK, bstride=64, rows=5, cols=13
    vrmax dst=COL, dstride=32, a=A, astride=160, rows=5, cols=13
    vmax dst=COL, dstride=32, a=COL, astride=32, b=-3.4e38f, bt=scalar, rows=5, cols=1
    vsub dst=A, dstride=160, a=A, astride=160, b=COL, bstride=32, bt=col, rows=5, cols=13
    vmul dst=A, dstride=160, a=A, astride=160, b=LOG2E, bt=scalar, rows=5, cols=13
    vexp2 dst=A, dstride=160, a=A, astride=160, rows=5, cols=13
    vsum dst=COL, dstride=32, a=A, astride=160, rows=5, cols=13
    vmax dst=COL, dstride=32, a=COL, astride=32, b=0x00800000, bt=scalar, rows=5, cols=1
    vrecip dst=COL, dstride=32, a=COL, astride=32, rows=5, cols=1
    vmul dst=0x3800, dstride=64, a=A, astride=160, b=COL, bstride=32, bt=col, rows=5, cols=13

# the next token
    vargmax dst=0x3C00, dstride=32, a=X, astride=160, rows=6, cols=40  signal(s1)
    store hbm=0x400, sram=OUT, rows=1, bytes=0x1D00  wait(s1)
    halt
