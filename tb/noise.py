"""A memory of any size that holds something different everywhere, for reading."""

from functools import lru_cache
from hashlib import blake2b

_BLOCK_BYTES = 64


class Noise:
    """`noise[start:stop]`: bytes that follow from their address, and from ``seed``, alone.

    Wrong upper bits of an address show as wrong data, which a small memory cannot do.
    """

    def __init__(self, seed: int) -> None:
        @lru_cache(maxsize=4096)
        def block(number: int) -> bytes:
            text = f"{seed} {number}".encode()
            return blake2b(text, digest_size=_BLOCK_BYTES).digest()

        self._block = block

    def __getitem__(self, place: slice) -> bytes:
        first, last = place.start // _BLOCK_BYTES, (place.stop - 1) // _BLOCK_BYTES
        data = b"".join(self._block(number) for number in range(first, last + 1))
        return data[place.start - first * _BLOCK_BYTES :][: place.stop - place.start]
