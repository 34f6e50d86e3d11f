# The sequencer alone: every scalar instruction, loops, registers as operands.
# Results: 32-bit words in HBM from byte 0x400 on.
.config tiny
.u32 0x000  7 0xFFFFFFFF 0x80000000 33 3 12345678
.code 0x800
.equ OUT 0x10                             # atom of the results, 64 bytes each

    add rd=r1, x=7                        # r0 reads as zero
    ld  rd=r2, x=0, y=4                   # 0xFFFFFFFF
    ld  rd=r3, y=8                        # 0x80000000
    ld  rd=r4, y=12                       # 33: shifts count modulo 32
    add rd=r0, rs=r1, x=1                 # lost
    st  rs=r0, x=OUT
    add rd=r5, rs=r2, x=r1                # wraps to 6
    st  rs=r5, x=OUT, y=4
    sub rd=r5, rs=r1, x=r2                # wraps to 8
    st  rs=r5, x=OUT, y=8
    mul rd=r5, rs=r2, x=r2                # low half: 1
    st  rs=r5, x=OUT, y=12
    mul rd=r5, rs=r1, x=0x23456789
    st  rs=r5, x=OUT, y=16
    and rd=r5, rs=r2, x=0x0F0F00F0
    st  rs=r5, x=OUT, y=20
    or  rd=r5, rs=r3, x=r4
    st  rs=r5, x=OUT, y=24
    shl rd=r5, rs=r1, x=r4                # 7 << 1
    st  rs=r5, x=OUT, y=28
    shr rd=r5, rs=r3, x=31
    st  rs=r5, x=OUT, y=32
    shr rd=r5, rs=r2, x=32                # by 0
    st  rs=r5, x=OUT, y=36
    min rd=r5, rs=r3, x=r1                # unsigned: 7
    st  rs=r5, x=OUT, y=40
    max rd=r5, rs=r3, x=r1                # 0x80000000
    st  rs=r5, x=OUT, y=44
    sync

# Fibonacci numbers below 1000, with a computed address
    add rd=r6, x=1
    add rd=r7, x=1
    add rd=r8, x=0
fib:
    add rd=r9, rs=r8, x=0x440
    st  rs=r6, x=0, y=r9
    add rd=r8, rs=r8, x=4
    add rd=r10, rs=r6, x=r7
    add rd=r6, rs=r7
    add rd=r7, rs=r10
    blt rs=r6, x=1000, y=fib

# A loop in a loop: 5 times 3; then words that were just written come back
    add rd=r11, x=0
outer:
    add rd=r12, x=0
inner:
    add rd=r13, rs=r13, x=1
    add rd=r12, rs=r12, x=1
    beq rs=r12, x=3, y=next
    beq rs=r0, x=0, y=inner
next:
    add rd=r11, rs=r11, x=1
    blt rs=r11, x=5, y=outer
    st  rs=r13, x=OUT, y=48               # 15
    ld  rd=r14, x=OUT, y=48
    add rd=r14, rs=r14, x=1
    st  rs=r14, x=OUT, y=52               # 16
    blt rs=r2, x=r1, y=fib                # unsigned: not taken
    blt rs=r1, x=7, y=fib                 # equal: not taken
    beq rs=r2, x=r3, y=fib                # not taken
    add rd=r15, x=last                    # an address from a register
    beq rs=r1, x=7, y=r15
    st  rs=r2, x=OUT, y=56                # jumped over
last:
    halt
