"""Where the bits of a memory address go: `isa.hbm_map` as wires."""

from amaranth.hdl import Cat, Module, Value

from isa.hbm_map import HbmMap


def locate(m: Module, mapping: HbmMap, address: Value) -> dict[str, Value]:
    """Bank, row and column of a byte address, as `rtl.hbm_port.place_layout` takes them."""
    row = field(mapping, "row", address)
    bank = Cat(field(mapping, "bank", address), field(mapping, "group", address))
    return Cat(bank, row, field(mapping, "column", address))


def field(mapping: HbmMap, name: str, address: Value) -> Value:
    """One field of the place: its bits of the address, with the row's lowest ones where the mapping
    says so."""
    bits = [address[bit] for bit in mapping.bits(name)]
    for place, bit in enumerate(mapping.xors.get(name, ())):
        bits[place] = bits[place] ^ address[bit]
    return Cat(bits)
