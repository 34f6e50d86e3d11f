// The load engine (rtl/dma_load.py, rtl/dma_align.py, rtl/dma_gather.py).

#pragma once

#include "sram.h"
#include "types.h"
#include "walks.h"

namespace cycle {

// The places of the rows of a gather, from the list of their numbers.
class RowNumbers {
 public:
  explicit RowNumbers(const Chip& chip)
      : chip_(chip), reader_(chip.reader_depth), words_(chip.line_bytes / chip.index_bytes) {}

  bool valid() const { return stages_ >> (chip_.gather_stages - 1) & 1; }
  int64_t atom() const { return places_.front(); }

  void ask(SramPort& port) const { reader_.request(port, active_, line_); }

  void begin(const Command& command, const int64_t* numbers) {
    line_ = command.hplane / chip_.line_bytes;
    rest_ = (command.rows - 1) / words_;
    active_ = true;
    left_ = command.rows, at_ = 0;
    numbers_ = numbers, base_ = command.hbm, stride_ = command.hstride;
  }

  void step(const SramPort& port, bool taken_row) {
    const bool move = !valid() || taken_row;
    const bool taken = move && reader_.valid() && left_ != 0;
    const bool pops = taken && (at_ == words_ - 1 || left_ == 1);
    if (move) {
      if (valid()) places_.pop();
      stages_ = (stages_ << 1 | taken) & ((1 << chip_.gather_stages) - 1);
      if (taken) places_.push(base_ + *numbers_++ * stride_);
    }
    reader_.step(port.accepted(), false, pops);
    if (taken) --left_, at_ = (at_ + 1) & (words_ - 1);
    if (port.accepted()) ++line_, active_ = rest_-- != 0;
  }

 private:
  const Chip& chip_;
  LineReader<bool> reader_;
  const int64_t words_;
  Ring<int64_t, 16> places_;
  const int64_t* numbers_ = nullptr;
  int64_t line_ = 0, rest_ = 0, left_ = 0, at_ = 0, base_ = 0, stride_ = 0, stages_ = 0;
  bool active_ = false;
};

// Makes lines of beats; a row that does not begin with a beat takes a cycle more.
class LineFiller {
 public:
  bool line_valid = false, moves = false, row_over = false, ready = false;

  explicit LineFiller(const Chip& chip)
      : width_(chip.axi_bytes), parts_(chip.line_bytes / chip.axi_bytes) {}

  void begin(const Command& command) {
    row_ = rest_ = (command.bytes - 1) / width_;
    tail_ = -command.bytes & (width_ - 1);
  }

  void evaluate(int64_t lead, bool beat, bool line_ready) {
    aligned_ = lead == 0;
    const bool last = rest_ == 0, alone = primed_ && last && lead <= tail_;
    const bool makes = primed_ || aligned_;
    const bool room = !makes || !line_valid || line_ready;
    ready = room && !alone;
    moves = room && (beat || alone);
    fills_ = moves && makes;
    row_over = fills_ && last;
    taken_ = line_valid && line_ready;
  }

  void step() {
    if (taken_) line_valid = false;
    if (moves) primed_ = !aligned_;
    if (fills_) {
      line_valid = row_over || part_ == parts_ - 1;
      part_ = (part_ + 1) & (parts_ - 1);
      --rest_;
    }
    if (row_over) part_ = 0, rest_ = row_, primed_ = false;
  }

 private:
  const int64_t width_, parts_;
  int64_t row_ = 0, rest_ = 0, tail_ = 0, part_ = 0;
  bool primed_ = false, aligned_ = false, fills_ = false, taken_ = false;
};

class LoadEngine {
 public:
  bool busy = false, done = false, requests = false;  // busy: lines are to be written
  bool waiting_bank = false, waiting_memory = false;
  BurstWalk bursts;

  explicit LoadEngine(const Chip& chip)
      : bursts(chip), chip_(chip), lines_(chip), numbers_(chip), filler_(chip) {}

  void ask(SramPort& write, SramPort& list) {
    write.valid = held_line_, write.line = lines_.line;
    numbers_.ask(list);
    done = busy && !lines_.active;
    const bool rows_alike = chip_.axi_bytes <= chip_.atom_bytes;
    const bool lead_room = rows_alike || leads_.size() <= chip_.load_bursts;
    requests = bursts.valid() && flying_ != chip_.load_bursts && lead_room;
  }

  // Whether it takes a command.
  bool ready(bool gather) const { return !busy || !(follows_ || bursts.active || gather); }

  // Whether a beat that is offered is taken.
  bool evaluate(const SramPort& write, const SramPort& list, bool beat) {
    const int64_t lead = chip_.axi_bytes <= chip_.atom_bytes ? held_ & (chip_.axi_bytes - 1)
                         : leads_.empty()                    ? held_
                                                             : leads_.front();
    const bool early = follows_ && older_ == 0;  // the beats are the next command's
    filler_.evaluate(lead, beat && !early, !held_line_ || write.ready);
    const bool starved = list.refused() && flying_ == 0;
    waiting_bank = !filler_.moves && (write.refused() || starved);
    waiting_memory = lines_.active && !filler_.moves && !write.valid && !starved;
    return filler_.ready && !early;
  }

  void step(const SramPort& write, const SramPort& list, bool accepted, bool beat_ended,
            const Command* start, const int64_t* numbers) {
    if (!busy && !start) return;
    const bool row = bursts.takes_row(accepted);
    const bool known = numbers_.valid();
    const int64_t atom = known ? numbers_.atom() : 0;
    if (chip_.axi_bytes > chip_.atom_bytes) {
      if (filler_.row_over) leads_.pop();
      if (accepted && bursts.first()) leads_.push(bursts.lead());
    }
    bursts.step(accepted, known, atom);
    numbers_.step(list, row);
    lines_.step(write.accepted());
    held_line_ = filler_.line_valid || (held_line_ && !write.accepted());
    filler_.step();
    flying_ += accepted - beat_ended;
    if (start) older_ = flying_;
    else if (beat_ended && older_) --older_;
    if (start) {
      bursts.begin(*start);
      if (start->kind == kGather) numbers_.begin(*start, numbers);
    }
    if (done) busy = false;
    const Command* following = start ? start : follows_;
    if (busy) follows_ = following;
    else if (following) begin_lines(*following);
  }

 private:
  // From now on the lines of this command.
  void begin_lines(const Command& command) {
    busy = true;
    follows_ = nullptr;
    held_ = command.offset;
    lines_.begin(command);
    filler_.begin(command);
  }

  const Chip& chip_;
  LineWalk lines_;
  RowNumbers numbers_;
  LineFiller filler_;
  Ring<int64_t, 128> leads_;
  const Command* follows_ = nullptr;  // its bursts are requested, lines of the last one written
  bool held_line_ = false;  // a whole line is offered to its bank
  int64_t flying_ = 0, held_ = 0, older_ = 0;  // older: bursts, asked for before it was taken
};

}  // namespace cycle
