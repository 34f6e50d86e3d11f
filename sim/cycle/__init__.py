"""The cycle model: what a program takes in time on the chip's RTL, without the RTL.

`trace` follows the program, `model` runs the compiled model (`*.h`, `model.cpp`) on that.
"""
