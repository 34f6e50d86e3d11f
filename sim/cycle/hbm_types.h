// Numbers of the HBM, and where its addresses lie.

#pragma once

#include <cstdint>
#include <vector>

#include "types.h"

namespace cycle {

// From isa.hbm, isa.config and rtl.timing, whose names they have.
#define HBM_FIELDS(X)                                                                             \
  X(cl) X(cwl) X(rcd_rd) X(rcd_wr) X(rp) X(ras) X(rc) X(wr) X(rtp) X(ccd_s) X(ccd_l) X(rrd_s)     \
  X(rrd_l) X(faw) X(wtr_s) X(wtr_l) X(rtw) X(rfc_ab) X(rfc_pb) X(rrefd) X(refi)                   \
  X(banks_per_group) X(burst_cycles) X(act_cycles) X(beat_bytes) X(column_bytes) X(word_bytes)    \
  X(channels) X(depth) X(slots) X(per_bank) X(ecc) X(piece_bytes) X(order_depth) X(patience)      \
  X(postpone) X(refresh_idle_cycles) X(pieces)

enum MapField { kRow, kColumn, kBankOfGroup, kGroup, kChannel, kMapFields };

// Bits `low` and up of a field are mixed with the address bits `at` and up, `bits` of them.
struct MapPiece {
  int64_t field, low, at, bits;
};

struct Hbm {
#define X(name) int64_t name;
  HBM_FIELDS(X)
#undef X
  MapPiece map[32];

  int64_t field(int64_t address, int64_t which) const {
    int64_t value = 0;
    for (int i = 0; i < pieces && map[i].field <= which; ++i)
      if (map[i].field == which)
        value ^= (address >> map[i].at & ((int64_t{1} << map[i].bits) - 1)) << map[i].low;
    return value;
  }
};

constexpr int64_t kNever = int64_t{1} << 60;
constexpr int kBanks = 16;
using BankSet = uint32_t;  // a bit for each
constexpr BankSet kAllBanks = (1u << kBanks) - 1;

// A column access that waits.
struct Access {
  int32_t row = 0;
  int16_t slot = 0;
  uint8_t bank = 0;
  bool fetch = false;  // a read for the write half
};

// Where columns lie. Fields are exclusive ors of address bits, so those of a piece's columns are
// that of its beginning and one of a table.
class Places {
 public:
  explicit Places(const Hbm& hbm)
      : hbm_(hbm), mask_(hbm.piece_bytes - 1), shift_(ceil_log2(hbm.column_bytes)) {
    for (int64_t low = 0; low < hbm.piece_bytes; low += hbm.column_bytes)
      columns_.push_back(of(low));
  }

  Access begin(int64_t address) const { return of(address & ~mask_); }
  // Of a column in the piece that begins like that.
  Access column(const Access& begin, int64_t address) const {
    Access found = columns_[(address & mask_) >> shift_];
    found.row ^= begin.row, found.bank ^= begin.bank;
    return found;
  }

 private:
  Access of(int64_t address) const {
    const int64_t group = hbm_.field(address, kGroup);
    const int64_t bank = group * hbm_.banks_per_group + hbm_.field(address, kBankOfGroup);
    return {int32_t(hbm_.field(address, kRow)), 0, uint8_t(bank), false};
  }

  const Hbm& hbm_;
  const int64_t mask_, shift_;
  std::vector<Access> columns_;
};

}  // namespace cycle
