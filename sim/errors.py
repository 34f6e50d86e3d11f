"""Errors of program execution."""

from isa.traps import Cause, Fault, explain


class SimulationError(ValueError):
    """A program did what the chip does not define; one line that names the instruction."""


class Trap(SimulationError):
    """The chip stopped at instruction ``pc``: all before it is done, nothing of it or behind it.

    ``fault`` is its cause and place, ``word`` the instruction's 32 bytes (None: behind the end).
    """

    def __init__(self, fault: Fault, pc: int, word: bytes | None, detail: str = "") -> None:
        super().__init__(explain(fault, pc, word) + detail)
        self.fault, self.pc = fault, pc

    @property
    def cause(self) -> Cause:
        """Why, alike in all back ends."""
        return self.fault.cause
