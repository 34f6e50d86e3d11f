"""All proofs, in the order of the table."""

from formal import (
    axi_lite,
    dma,
    dma_align,
    dma_gather,
    dma_walks,
    fetch,
    fifo,
    hbm_pieces,
    hbm_split,
    matrix,
    mux,
    reader,
    scalar,
    semaphores,
    sram,
    vector_walk,
)
from formal.proof import Proof

_MODULES = (
    fetch,
    fifo,
    reader,
    sram,
    mux,
    axi_lite,
    scalar,
    semaphores,
    dma_walks,
    dma,
    dma_align,
    dma_gather,
    vector_walk,
    matrix,
    hbm_pieces,
    hbm_split,
)
PROOFS = tuple(
    value for module in _MODULES for value in vars(module).values() if isinstance(value, Proof)
)
