"""Errors of program execution."""


class SimulationError(ValueError):
    """A program did what the chip does not define; one line that names the instruction."""


class Trap(SimulationError):
    """The sequencer met an illegal instruction: the chip stops."""
