"""What random reads can get from an HBM pseudo-channel: an ideal controller, row by row.

Its only limits are those of the device and of the requests: at most ``outstanding`` of them, which
are answered in order; tRC between activations of a bank, tRRD between those of any banks, four
activations in tFAW; the latency of a read. No refreshes, no row found open, no column bus.
"""

from collections import deque

import numpy as np

from isa.hbm import ACT_CYCLES, BANKS, BANKS_PER_GROUP, COLUMN_BYTES, HbmGeneration

_NEVER = -(1 << 40)


def random_read_bound(
    generation: HbmGeneration,
    outstanding: int,
    burst: int = 2 * COLUMN_BYTES,
    per_bank: bool = False,
    count: int = 20_000,
) -> float:
    """Share of the pin rate that ``count`` reads get, each of ``burst`` bytes of one random row,
    with refreshes of all banks taken off. Those of single banks (``per_bank``) may cost nothing."""
    t, banks = generation.timing, np.random.default_rng(1).integers(0, BANKS, count).tolist()
    columns = max(1, burst // COLUMN_BYTES)
    answer = t.rcd_rd + t.cl + (columns - 1) * t.ccd_l + 2  # from ACT to behind the last beat
    free, group_free, any_free = [0] * BANKS, [0] * (BANKS // BANKS_PER_GROUP), 0
    last_four = deque([_NEVER] * 4)
    waiting: list[int] = []  # requests whose row is not activated yet, the oldest first
    answered: deque[int | None] = deque()  # of those under way: the cycle of the answer
    now = issued = done = 0
    while done < count:
        while answered and answered[0] is not None and answered[0] <= now:
            answered.popleft()
            done += 1
        while issued < count and issued - done < outstanding:
            waiting.append(issued)
            answered.append(None)
            issued += 1
        if now >= any_free and now >= last_four[0] + t.faw:
            for request in waiting:
                bank = banks[request]
                group = bank // BANKS_PER_GROUP
                if free[bank] <= now and group_free[group] <= now:
                    free[bank], group_free[group] = now + t.rc, now + t.rrd_l
                    any_free = now + max(t.rrd_s, ACT_CYCLES)
                    last_four.popleft()
                    last_four.append(now)
                    answered[request - done] = now + answer
                    waiting.remove(request)
                    break
        now += 1
    share = count * columns * 2 / now
    return share if per_bank else share * (1 - generation.refresh_fraction)
