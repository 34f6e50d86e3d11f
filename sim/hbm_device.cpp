// Plain C interface of one HBM pseudo-channel, for Python: see hbm_device.py.

#include "hbm_device.h"

// isa/hbm.py's figures come in as macros.
static_assert(hbm::kBankGroups == BANK_GROUPS && hbm::kBanksPerGroup == BANKS_PER_GROUP);
static_assert(hbm::kColumns == COLUMNS && hbm::kColumnBytes == COLUMN_BYTES);
static_assert(hbm::kBeatBytes == BEAT_BYTES && hbm::kBurstCycles == BURST_CYCLES);
static_assert(hbm::kActCycles == ACT_CYCLES);

namespace {

// Contents as one array, in the order of bank, row, column.
struct Array {
  uint8_t* bytes;
  uint64_t rows;

  uint8_t* operator()(uint64_t bank, uint64_t row, uint64_t column) const {
    return bytes + ((bank * rows + row) * hbm::kColumns + column) * hbm::kColumnBytes;
  }
};

struct Handle {
  hbm::Device<Array> device;
  std::string violation;
};

hbm::Device<Array>& device_of(void* handle) { return static_cast<Handle*>(handle)->device; }

}  // namespace

#define JX_API __attribute__((visibility("default")))

extern "C" {

#define NAME(name) #name " "
JX_API const char* jx_hbm_timing_names() { return HBM_TIMING(NAME); }
JX_API const char* jx_hbm_counter_names() { return HBM_COUNTERS(NAME); }
JX_API int jx_hbm_window() { return hbm::kWindow; }

// `timing`: in the order of jx_hbm_timing_names.
JX_API void* jx_hbm_create(const int32_t* timing, uint32_t rows, uint8_t* bytes) {
  hbm::Timing values;
  static_assert(sizeof values % sizeof *timing == 0);
  std::memcpy(&values, timing, sizeof values);
  return new Handle{hbm::Device<Array>(values, rows, Array{bytes, rows}), {}};
}

JX_API void jx_hbm_destroy(void* handle) { delete static_cast<Handle*>(handle); }

// `read` gets the data of the next cycle.
JX_API void jx_hbm_tick(void* handle, uint32_t row_cmd, uint32_t row_bank, uint32_t row_addr,
                        uint32_t col_cmd, uint32_t col_bank, uint32_t col_addr,
                        const uint8_t* data, uint32_t mask, uint8_t* read) {
  hbm::WriteBeat write;
  std::memcpy(write.data.bytes, data, hbm::kBeatBytes);
  write.mask = mask;
  const hbm::Commands commands{row_cmd, row_bank, row_addr, col_cmd, col_bank, col_addr};
  const hbm::Beat& beat = device_of(handle).tick(commands, write);
  std::memcpy(read, beat.bytes, hbm::kBeatBytes);
}

// `count` times (cycle, row_cmd, row_bank, row_addr, col_cmd, col_bank, col_addr), cycles rising
// from the present one; no command in the cycles between. Writes nothing; ends at a violation.
JX_API void jx_hbm_run(void* handle, const int64_t* commands, uint64_t count) {
  hbm::Device<Array>& device = device_of(handle);
  const hbm::WriteBeat nothing{};
  for (; count > 0 && !device.checker().violation(); --count, commands += 7) {
    while (device.cycle() < commands[0]) device.tick({}, nothing);
    const auto field = [&](int index) { return uint32_t(commands[index]); };
    device.tick({field(1), field(2), field(3), field(4), field(5), field(6)}, nothing);
  }
}

// "" as long as there is none.
JX_API const char* jx_hbm_violation(void* handle) {
  std::string& text = static_cast<Handle*>(handle)->violation;
  if (const auto* found = device_of(handle).checker().violation()) text = found->text();
  return text.c_str();
}

// In the order of jx_hbm_counter_names.
JX_API void jx_hbm_counters(void* handle, uint64_t* values) {
  std::memcpy(values, &device_of(handle).counters(), sizeof(hbm::Counters));
}

JX_API int64_t jx_hbm_cycle(void* handle) { return device_of(handle).cycle(); }

JX_API void jx_hbm_read_data(void* handle, uint8_t* read) {
  std::memcpy(read, device_of(handle).rdata().bytes, hbm::kBeatBytes);
}

JX_API void jx_hbm_inject(void* handle, uint32_t bank, uint32_t row, uint32_t column, uint32_t bit,
                          int stuck) {
  device_of(handle).inject({bank, row, column, bit, stuck != 0});
}

}  // extern "C"
