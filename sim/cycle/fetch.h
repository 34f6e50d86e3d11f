// The instruction buffer (rtl/fetch.py): a ring over a window of the program, filled by bursts.

#pragma once

#include "types.h"

namespace cycle {

class Fetch {
 public:
  bool requests = false;  // in this cycle
  int64_t address = 0, beats = 0;
  bool valid = false;
  int64_t pc = 0;

  Fetch(const Chip& chip, int64_t base_atom, int64_t count)
      : chip_(chip),
        base_(base_atom * chip.atom_bytes / chip.instruction_bytes),
        end_(base_ + count),
        words_(chip.axi_bytes > chip.instruction_bytes ? chip.axi_bytes / chip.instruction_bytes
                                                       : 1),
        parts_(chip.axi_bytes < chip.instruction_bytes ? chip.instruction_bytes / chip.axi_bytes
                                                       : 1) {
    low_ = ahead_ = head_ = current_ = aligned(base_);
  }

  bool waits() const { return bursts_ != 0; }
  int64_t beat_bytes() const { return chip_.axi_bytes; }

  // Before the mux decides: what is asked for.
  void ask(bool enable, bool jump) {
    const int64_t most = chip_.fetch_depth / chip_.fetch_burst;
    const uint64_t distance = uint64_t(ahead_ - current_);
    requests = enable && !jump && bursts_ != most &&
               distance <= uint64_t(chip_.fetch_ahead) && ahead_ < end_;
    if (!requests) return;
    const int64_t left = end_ - ahead_, count = left < chip_.fetch_burst ? left : chip_.fetch_burst;
    address = ahead_ * chip_.instruction_bytes;
    beats = parts_ > 1 ? count * parts_ : (count - 1) / words_ + 1;
  }

  void step(bool advance, bool jump, int64_t target, bool accepted, bool beat, bool last) {
    const int64_t next = jump ? target : pc + advance;
    const int64_t place = base_ + next;
    const uint64_t depth = uint64_t(place - low_);
    const bool flush = jump && depth > uint64_t(ahead_ - low_);
    const bool ended = beat && last;
    const bool arrived = beat && stale_ == 0 && !flush;
    bool complete = arrived;
    if (parts_ > 1) {
      complete = arrived && count_ == parts_ - 1;
      count_ = flush ? 0 : (count_ + arrived) % parts_;
    }
    pc = next;
    valid = !flush && depth < uint64_t(head_ - low_);
    current_ = aligned(place);
    if (flush) {
      stale_ = bursts_ + accepted - ended;
      low_ = ahead_ = head_ = aligned(place);
    } else {
      stale_ -= ended && stale_ != 0;
      if (accepted) {
        ahead_ += chip_.fetch_burst;
        if (ahead_ - low_ > chip_.fetch_depth) low_ += chip_.fetch_burst;
      }
      if (complete) head_ += words_;
    }
    bursts_ += accepted - ended;
  }

 private:
  int64_t aligned(int64_t place) const { return place & ~(chip_.fetch_burst - 1); }

  const Chip& chip_;
  const int64_t base_, end_, words_, parts_;
  int64_t low_ = 0, head_ = 0, ahead_ = 0, current_ = 0;
  int64_t bursts_ = 0, stale_ = 0, count_ = 0;
};

}  // namespace cycle
