// The simple memory in time: sim/simple_memory.h without its bytes.

#pragma once

#include <algorithm>
#include <deque>

#include "types.h"

namespace cycle {

class SimpleMemory {
 public:
  HbmCounts counts;  // stay 0

  explicit SimpleMemory(const Chip& chip)
      : beat_(chip.axi_bytes), latency_(chip.latency), rate_(chip.rate),
        most_(std::max(chip.rate, chip.axi_bytes)) {}

  // What is offered in this cycle; `writes`: the core offers a beat.
  MemoryOut offer(bool writes) {
    credit_ = std::min(credit_ + rate_, most_);
    const bool write_first = read_last_;
    if (write_first) out_.wready = credit_ >= beat_;
    if (!out_.rvalid) offer_read(writes);
    if (!write_first) out_.wready = credit_ >= beat_;
    out_.arready = out_.awready = true;
    out_.bvalid = !responses_.empty() && responses_.front().ready <= cycle_;
    if (out_.bvalid) out_.bid = responses_.front().id;
    return out_;
  }

  void step(const MemoryIn& in) {
    const bool took_read = out_.rvalid && in.rready;
    if (in.arvalid) reads_[in.arid].push_back({cycle_ + latency_, in.arbeats, in.arid});
    if (in.awvalid) writes_.push_back({0, in.awbeats, in.awid});
    if (in.wvalid && out_.wready) {
      ++beats_;
      credit_ -= beat_;
      read_last_ = false;
    }
    const bool answered = out_.bvalid;
    while (!writes_.empty() && beats_) {
      --beats_;
      if (--writes_.front().beats) continue;
      responses_.push_back({cycle_ + latency_, 0, writes_.front().id});
      writes_.pop_front();
    }
    if (took_read) out_.rvalid = false;
    if (answered) responses_.pop_front();
    ++cycle_;
  }

  // For how many cycles nothing happens unless something is asked; so many pass.
  int64_t rest() const {
    const bool some = out_.rvalid || !reads_[0].empty() || !reads_[1].empty() || !reads_[2].empty();
    return some || !writes_.empty() || !responses_.empty() ? 0 : kForever;
  }
  void settle() {}
  void pass(int64_t cycles) {
    cycle_ += cycles;
    credit_ = std::min(credit_ + rate_ * cycles, most_);
  }

 private:
  static constexpr int64_t kForever = int64_t{1} << 40;

  struct Burst {
    int64_t ready, beats;
    int id;
  };

  void offer_read(bool writes) {
    // A write that is about to be taken has its share already.
    const int64_t reserved = read_last_ && writes ? beat_ : 0;
    if (credit_ < beat_ + reserved) return;
    for (auto& queue : reads_) {
      if (queue.empty() || queue.front().ready > cycle_) continue;
      Burst& burst = queue.front();
      out_.rid = burst.id;
      out_.rlast = --burst.beats == 0;
      out_.rvalid = true;
      if (burst.beats == 0) queue.pop_front();
      credit_ -= beat_;
      read_last_ = true;
      return;
    }
  }

  const int64_t beat_, latency_, rate_, most_;
  int64_t cycle_ = 0, credit_ = 0, beats_ = 0;
  bool read_last_ = false;
  MemoryOut out_{};
  std::deque<Burst> reads_[kReadIds], writes_, responses_;
};

}  // namespace cycle
