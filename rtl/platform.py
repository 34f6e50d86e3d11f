"""The target for which hardware is elaborated."""


class AsicPlatform:
    """Marks elaboration to SystemVerilog: big memories become instances of SRAM macros.

    A component whose `elaborate` receives `None` is being simulated by Amaranth and must not
    contain an `Instance`; one that receives an `AsicPlatform` may. `is_asic` says which.
    """


def is_asic(platform: object) -> bool:
    """True when the design is emitted as SystemVerilog, False in Amaranth's simulator."""
    return isinstance(platform, AsicPlatform)
