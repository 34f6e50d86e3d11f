// The HBM devices behind the chip's controllers, one for each pseudo-channel, with their checkers.
//
// Memory is one array of bytes; `layout.h` says at which of its addresses a column lies.

#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "VTop.h"
#include "hbm_device.h"
#include "layout.h"

namespace {

// Contents of a pseudo-channel. Columns behind the end of memory do not exist.
struct Columns {
  uint8_t* bytes;
  uint64_t size;
  uint32_t channel;

  uint8_t* operator()(uint32_t bank, uint32_t row, uint32_t column) const {
    const uint64_t address = column_address(channel, bank, row, column);
    return address + hbm::kColumnBytes <= size ? bytes + address : nullptr;
  }
};

class Memory {
 public:
  static void reset(VTop&) {}

  Memory(VTop& top, uint8_t* bytes, uint64_t size) : top_(top) {
    for (uint32_t channel = 0; channel < HBM_CHANNELS; ++channel)
      devices_.emplace_back(kTiming, kRows, Columns{bytes, size, channel}, channel + 1, HBM_ECC);
  }

  void inject(uint32_t channel, const hbm::Fault& fault) { devices_[channel].inject(fault); }

  // Drive the controllers' inputs for this cycle.
  void drive() {
#define HBM_DRIVE(i)                                                              \
  std::memcpy(&top_.pc##i##_rdata, devices_[i].rdata().bytes, hbm::kBeatBytes); \
  std::memcpy(&top_.pc##i##_recc, devices_[i].rdata().checks, hbm::kWords);
    HBM_PORTS(HBM_DRIVE)
#undef HBM_DRIVE
  }

  // What the controllers do at the clock edge; call with settled outputs, before the edge.
  void sample() {
    hbm::WriteBeat beat;
#define HBM_TICK(i)                                                                      \
  std::memcpy(beat.data.bytes, &top_.pc##i##_wdata, hbm::kBeatBytes);                    \
  std::memcpy(beat.data.checks, &top_.pc##i##_wecc, hbm::kWords);                        \
  beat.mask = top_.pc##i##_wmask;                                                        \
  devices_[i].tick({top_.pc##i##_row_cmd, top_.pc##i##_row_bank, top_.pc##i##_row_addr,  \
                    top_.pc##i##_col_cmd, top_.pc##i##_col_bank, top_.pc##i##_col_addr}, \
                   beat);                                                                \
  wrong_ |= devices_[i].wrong();
    HBM_PORTS(HBM_TICK)
#undef HBM_TICK
  }

  // After the edge.
  void advance() { quiet_ = top_.memory_idle ? quiet_ + 1 : 0; }

  bool wrong() const { return wrong_; }

  std::string error() const {  // what has gone wrong
    for (uint32_t channel = 0; channel < HBM_CHANNELS; ++channel)
      if (devices_[channel].wrong())
        return "HBM pseudo-channel " + std::to_string(channel) + ": " + devices_[channel].error();
    return {};
  }

  // Whether all that was written is in memory: data come behind their commands.
  bool settled() const { return quiet_ > hbm::kWindow; }

 private:
  VTop& top_;
  std::vector<hbm::Device<Columns>> devices_;
  uint32_t quiet_ = 0;  // cycles since there was something to do
  bool wrong_ = false;
};

}  // namespace
