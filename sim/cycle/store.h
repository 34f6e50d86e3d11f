// The store engine (rtl/dma_store.py, rtl/dma_align.py).

#pragma once

#include "sram.h"
#include "types.h"
#include "walks.h"

namespace cycle {

class StoreEngine {
 public:
  bool busy = false, done = false;
  bool waiting_bank = false, waiting_memory = false;
  bool requests = false, beat = false, beat_last = false;  // what is offered to the memory
  int64_t used_from = 0, used_to = 0;                      // bytes of the beat
  BurstWalk bursts;

  explicit StoreEngine(const Chip& chip)
      : bursts(chip), chip_(chip), parts_(chip.line_bytes / chip.axi_bytes), lines_(chip),
        reader_(chip.reader_depth) {}

  void ask(SramPort& port) {
    reader_.request(port, lines_.active, lines_.line);
    done = busy && !bursts.active && waiting_ == 0;
    room_ = bursts.valid() && waiting_ != chip_.store_bursts;
    requests = room_ && !sent_;
    beat = beat_last = false;
    if (!room_) return;
    beat_last = count_ == bursts.beats() - 1;
    row_ends_ = bursts.last() && beat_last;
    needs_ = !row_ends_ || bursts.lead() <= tail_;
    beat = (reader_.valid() || !needs_) && !finished_;
    const bool row_begins = bursts.first() && count_ == 0;
    used_from = row_begins ? bursts.lead() : 0;
    used_to = chip_.axi_bytes;
    if (row_ends_) used_to -= (tail_ - bursts.lead()) & (chip_.axi_bytes - 1);
  }

  void evaluate(const SramPort& port, bool beaten) {
    const bool stuck = busy && !done && !beaten;
    waiting_bank = stuck && port.refused();
    waiting_memory = stuck && !port.refused();
  }

  void step(const SramPort& port, bool asked, bool beaten, bool answered, const Command* start) {
    if (!busy && !start) return;
    const bool pops = beaten && (row_ends_ ? needs_ || part_ != 0 : part_ == parts_ - 1);
    const bool ended = (sent_ || asked) && (finished_ || (beaten && beat_last));
    if (beaten) part_ = row_ends_ ? 0 : (part_ + 1) & (parts_ - 1);
    reader_.step(port.accepted(), false, pops);
    lines_.step(port.accepted());
    bursts.step(ended, false, 0);
    if (ended) {
      sent_ = finished_ = false, count_ = 0;
    } else {
      sent_ |= asked;
      finished_ |= beaten && beat_last;
      count_ += beaten;
    }
    waiting_ += ended - answered;
    if (done) busy = false;
    if (!start) return;
    busy = true;
    bursts.begin(*start);
    lines_.begin(*start);
    tail_ = -start->bytes & (chip_.axi_bytes - 1);
  }

 private:
  const Chip& chip_;
  const int64_t parts_;
  LineWalk lines_;
  LineReader<bool> reader_;
  int64_t waiting_ = 0, count_ = 0, part_ = 0, tail_ = 0;
  bool room_ = false, sent_ = false, finished_ = false, row_ends_ = false, needs_ = false;
};

}  // namespace cycle
