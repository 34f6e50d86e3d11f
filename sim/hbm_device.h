// Behavioural model of one HBM pseudo-channel (PC) at its port: commands, contents, data in time.
//
// The contents stay where the caller has them: `ColumnOf` is called as (bank, row, column) and
// gives the address of those 32 bytes, or nullptr where there is no memory: noise is read there,
// and what is written is lost. Rules are the checker's: the device goes on after a violation, and
// promises nothing.
//
// A cycle of the port is one call of `tick`. In cycle t the controller sees `rdata()`, and `tick`
// takes what the controller drives in cycle t. RD in cycle t puts its two beats on `rdata()` in the
// cycles t + cl and t + cl + 1; in all other cycles it carries noise. WR in cycle t takes `write`
// in the cycles t + cwl and t + cwl + 1. Both latencies are between 1 and kWindow - 2.

#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "hbm_checker.h"

namespace hbm {

constexpr int kColumnBytes = 32, kBeatBytes = kColumnBytes / kBurstCycles;
constexpr int kWindow = 128;  // cycles; a power of two

constexpr int kWordBytes = 8, kWords = kBeatBytes / kWordBytes;  // protected each by 8 check bits
constexpr uint32_t kDataBits = 8 * kColumnBytes, kCheckBits = kDataBits / kWordBytes;

struct Beat {
  alignas(8) uint8_t bytes[kBeatBytes];
  uint8_t checks[kWords];
};

struct WriteBeat {
  Beat data;
  uint32_t mask;  // bit i: byte i is written
};

// Hsiao's code: data bit i is in the checks of the i-th number with three bits set, in the order of
// the positions (0 1 2), (0 1 3), … (5 6 7); the last 8 bits in those of (0 1 2 3 4), (0 1 2 3 5), …
inline uint8_t check_bits(const uint8_t* word) {
  static const auto masks = [] {
    std::array<uint64_t, 8> found{};
    int bit = 0;
    const auto add = [&](std::initializer_list<int> checks) {
      if (bit < 64)
        for (int check : checks) found[check] |= uint64_t(1) << bit;
      ++bit;
    };
    for (int i = 0; i < 8; ++i)
      for (int j = i + 1; j < 8; ++j)
        for (int k = j + 1; k < 8; ++k) add({i, j, k});
    for (int l = 4; l < 8; ++l) add({0, 1, 2, 3, l});
    for (int k = 4; k < 8; ++k)
      for (int l = k + 1; l < 8; ++l) add({0, 1, 2, k, l});
    return found;
  }();
  uint64_t value;
  std::memcpy(&value, word, sizeof value);
  uint8_t checks = 0;
  for (int check = 0; check < 8; ++check)
    checks |= __builtin_parityll(value & masks[check]) << check;
  return checks;
}

#define HBM_COUNTERS(X)                                                                   \
  X(act) X(pre) X(pre_all) X(rd) X(wr) X(ref_all) X(ref_bank) /* commands */              \
  X(row_hits)    /* RD and WR that are not the first since their row's ACT */             \
  X(data_cycles) /* in which a beat was on the bus */                                     \
  X(turnarounds) /* RD after WR and WR after RD */                                        \
  X(outside)     /* RD and WR of columns that have no memory */

struct Counters {
#define HBM_COUNTER(name) uint64_t name = 0;
  HBM_COUNTERS(HBM_COUNTER)
#undef HBM_COUNTER
};

// A bit that is read wrong: each time, or only the next time. The contents are not changed.
struct Fault {
  uint32_t bank, row, column;
  uint32_t bit;  // of the column's 256, bit i of byte j is 8 j + i; behind them its 32 check bits
  bool stuck;
};

template <class ColumnOf>
class Device {
 public:
  // `ecc`: words are written whole, with the check bits that they must have.
  Device(const Timing& timing, uint32_t rows, ColumnOf column_of, uint64_t seed = 1,
         bool ecc = false)
      : checker_(timing, rows), column_of_(column_of), cl_(timing.cl), cwl_(timing.cwl),
        rows_(rows), ecc_(ecc), noise_(seed) {
    drive();
  }

  // What the device drives in the present cycle.
  const Beat& rdata() const { return rdata_; }

  // The end of a cycle: take what is on the port. Returns `rdata()` of the next.
  const Beat& tick(const Commands& commands, const WriteBeat& write) {
    checker_.tick(commands);
    if (commands.col_cmd == kRead || commands.col_cmd == kWrite) access(commands);
    if (commands.row_cmd != kRowNone) move_rows(commands);
    take(write);
    ++cycle_;
    drive();
    return rdata_;
  }

  void inject(const Fault& fault) { faults_.push_back(fault); }

  int64_t cycle() const { return cycle_; }  // the present one; 0 is the first after the reset
  const Checker& checker() const { return checker_; }
  const Counters& counters() const { return counters_; }

  bool wrong() const { return checker_.violation() || !error_.empty(); }

  std::string error() const {
    return checker_.violation() ? checker_.violation()->text() : error_;
  }

 private:
  struct Bank {
    bool open = false, used = false;  // used: read or written since its row was activated
    uint32_t row = 0;
  };

  // A beat in the cycle in which it moves.
  struct Due {
    bool due = false;
    uint8_t* bytes;  // nullptr: there is no memory
    uint32_t bank, row, column, beat;
  };

  static uint32_t slot(int64_t cycle) { return uint64_t(cycle) % kWindow; }

  void access(const Commands& c) {
    const bool is_read = c.col_cmd == kRead;
    const uint32_t index = c.col_bank % kBanks, column = c.col_addr % kColumns;
    Bank& bank = banks_[index];
    uint8_t* bytes = bank.open && bank.row < rows_ ? column_of_(index, bank.row, column) : nullptr;
    __builtin_prefetch(bytes);
    Due* calendar = is_read ? reads_ : writes_;
    const int64_t first = cycle_ + (is_read ? cl_ : cwl_);
    for (uint32_t beat = 0; beat < kBurstCycles; ++beat, bytes += bytes ? kBeatBytes : 0)
      calendar[slot(first + beat)] = {true, bytes, index, bank.row, column, beat};
    ++(is_read ? counters_.rd : counters_.wr);
    counters_.row_hits += bank.used;
    counters_.turnarounds += last_column_ != kColumnNone && last_column_ != c.col_cmd;
    counters_.outside += bytes == nullptr;
    bank.used = true;
    last_column_ = c.col_cmd;
  }

  void move_rows(const Commands& c) {
    Bank& bank = banks_[c.row_bank % kBanks];
    switch (c.row_cmd) {
      case kAct:
        ++counters_.act;
        bank = {true, false, c.row_addr};
        break;
      case kPre:
        ++counters_.pre;
        bank.open = false;
        break;
      case kPreAll:
        ++counters_.pre_all;
        for (Bank& each : banks_) each.open = false;
        break;
      case kRefAll:
        ++counters_.ref_all;
        break;
      case kRefBank:
        ++counters_.ref_bank;
        break;
    }
  }

  void take(const WriteBeat& write) {
    Due& due = writes_[slot(cycle_)];
    if (!due.due) return;
    due.due = false;
    ++counters_.data_cycles;
    if (!due.bytes) return;
    if (ecc_) check(write);
    for (int i = 0; i < kBeatBytes; ++i)
      if (write.mask >> i & 1) due.bytes[i] = write.data.bytes[i];
  }

  void check(const WriteBeat& write) {
    for (int word = 0; word < kWords; ++word) {
      const uint32_t mask = write.mask >> kWordBytes * word & 0xFF;
      const bool good = mask == 0xFF && check_bits(write.data.bytes + kWordBytes * word) ==
                                            write.data.checks[word];
      if (mask == 0 || good || !error_.empty()) continue;
      error_ = mask == 0xFF ? "ECC: wrong check bits" : "ECC: a word written in part";
      error_ += " in cycle " + std::to_string(cycle_);
    }
  }

  void drive() {
    Due& due = reads_[slot(cycle_)];
    counters_.data_cycles += due.due;
    if (!due.due || !due.bytes) {
      make_noise();
    } else {
      std::memcpy(rdata_.bytes, due.bytes, kBeatBytes);
      if (ecc_)
        for (int word = 0; word < kWords; ++word)
          rdata_.checks[word] = check_bits(rdata_.bytes + kWordBytes * word);
      if (!faults_.empty()) flip_bits(due);
    }
    due.due = false;
  }

  void make_noise() {
    uint64_t words[2];
    for (uint64_t& word : words) {
      noise_ = noise_ * 6364136223846793005u + 1442695040888963407u;  // Knuth's MMIX
      word = noise_ ^ noise_ >> 32;  // its low bits alone have short periods
    }
    std::memcpy(rdata_.bytes, words, sizeof words);
    std::memcpy(rdata_.checks, words, sizeof rdata_.checks);
  }

  void flip_bits(const Due& due) {
    const auto done = [&](const Fault& fault) {
      const bool in_data = fault.bit < kDataBits;
      const uint32_t bit = in_data ? fault.bit : fault.bit - kDataBits;
      const uint32_t beat = bit / ((in_data ? kDataBits : kCheckBits) / kBurstCycles);
      const bool here = fault.bank == due.bank && fault.row == due.row &&
                        fault.column == due.column && beat == due.beat;
      uint8_t& byte = in_data ? rdata_.bytes[bit / 8 % kBeatBytes] : rdata_.checks[bit / 8 % kWords];
      if (here) byte ^= 1 << bit % 8;
      return here && !fault.stuck;
    };
    faults_.erase(std::remove_if(faults_.begin(), faults_.end(), done), faults_.end());
  }

  Checker checker_;
  ColumnOf column_of_;
  const int64_t cl_, cwl_;
  const uint32_t rows_;
  const bool ecc_;
  std::string error_;  // of check bits
  uint64_t noise_;
  int64_t cycle_ = 0;
  uint32_t last_column_ = kColumnNone;
  Bank banks_[kBanks];
  Due reads_[kWindow], writes_[kWindow];  // by the cycle in which they are due
  Beat rdata_;
  Counters counters_;
  std::vector<Fault> faults_;
};

}  // namespace hbm
