# Kept by `jalapeno fuzz` on RTL whose count of repeated rows of b had one bit: 1 byte of sram differs
# case: {"seed": 1, "words": {}, "config": {"name": "fuzz-int8", "rows": 4, "cols": 8, "lanes": 4, "line_bytes": 32, "sram_bytes": 32768, "sram_banks": 4, "acc_rows": 128, "axi_bytes": 8, "element": "int8", "queue_depth": 4, "burst_beats": 16, "load_bursts": 3, "watchdog_cycles": 131072, "memory_bytes": 4294967296, "memory_latency_cycles": 7, "memory_bytes_per_cycle": 0}}
.config fuzz-int8
.code 0x0
    vmax dst=0x4000, dstride=4, a=0x4800, b=0x5000, bstride=16, rep=3, rows=2, cols=1, dt=e5m2
    halt
