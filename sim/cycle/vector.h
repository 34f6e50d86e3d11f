// The vector unit (rtl/vector.py and its parts): operands, lanes, write back.

#pragma once

#include "sram.h"
#include "types.h"

namespace cycle {

// The addresses of an operand's vectors, row by row (rtl/vector_walk.py).
class Walker {
 public:
  int64_t address = 0;

  void begin(int64_t base, int64_t stride, int64_t rows, int64_t last_vector, int64_t repeat,
             int64_t skip) {
    row_ = address = base;
    stride_ = stride, last_vector_ = left_ = last_vector, rows_left_ = rows - 1;
    repeats_ = repeats_left_ = repeat ? repeat - 1 : 0;
    skip_ = to_skip_ = skip;
    position_ = offset_ = 0;
    active_ = true;
  }

  bool valid() const { return active_ && !to_skip_; }
  bool skips() const { return active_ && to_skip_; }
  bool last() const { return left_ == 0; }
  bool end() const { return last() && rows_left_ == 0; }

  // `step`: distance to the next vector's address; `next`: go on.
  void advance(int64_t step, bool next, int64_t mask) {
    const int64_t forward = (address + step) & mask;
    if (active_ && to_skip_) {
      offset_ = forward - row_;
      --to_skip_, ++position_;
      address = forward;
      return;
    }
    if (!next) return;
    if (last()) {
      if (repeats_left_-- == 0) row_ += stride_, repeats_left_ = repeats_;
      active_ = rows_left_-- != 0;
      address = (row_ + offset_) & mask;
      position_ = skip_, left_ = last_vector_;
      return;
    }
    --left_;
    if (position_ == last_vector_) address = row_ & mask, position_ = 0;
    else address = forward, ++position_;
  }

 private:
  int64_t row_ = 0, stride_ = 0, last_vector_ = 0, left_ = 0, rows_left_ = 0;
  int64_t repeats_ = 0, repeats_left_ = 0, skip_ = 0, to_skip_ = 0, position_ = 0, offset_ = 0;
  bool active_ = false;
};

// Reads one source; a line that holds several vectors in turn is read once.
class Source {
 public:
  explicit Source(const Chip& chip)
      : chip_(chip), mask_((int64_t{1} << chip.operand_address_bits) - 1) {}

  void begin(int64_t base, int64_t stride, int64_t rows, int64_t last_vector, int64_t repeat,
             int64_t skip, int64_t step, int64_t panel) {
    walker_.begin(base & mask_, stride, rows, last_vector, repeat, skip);
    step_ = step, panel_ = panel;
    known_ = false;
  }

  bool valid() const { return !vectors_.empty(); }
  bool last() const { return vectors_.front(); }
  bool from_acc() const { return panel_ >= 0; }
  int acc_bank() const { return from_acc() ? here_ >> chip_.acc_bank_shift : 0; }
  bool moves() const { return passes_ || arriving_ || walker_.skips(); }

  void ask(SramPort& port, bool& accumulators) {
    const bool free = taken_ != chip_.operand_depth;
    const bool ready = walker_.valid() && free;
    here_ = walker_.address >> (from_acc() ? chip_.acc_row_shift : chip_.line_shift);
    needed_ = !known_ || line_ != here_;
    passes_ = ready && !needed_;
    port.valid = ready && needed_ && !from_acc();
    port.line = here_;
    accumulators = ready && needed_ && from_acc();
  }

  void step(bool accepted, bool popped) {
    const bool next = accepted || passes_;
    if (popped) vectors_.pop();
    if (arriving_) vectors_.push(arriving_last_);
    arriving_ = next;
    arriving_last_ = walker_.last();
    taken_ += next - popped;
    walker_.advance(distance(), next, mask_);
    if (accepted) known_ = true, line_ = here_;
  }

 private:
  int64_t row_bytes() const { return 4 * chip_.cols; }
  int64_t distance() const {
    if (!from_acc()) return step_;
    const int64_t wide = 4 * chip_.lanes, edge = row_bytes() - wide;
    return (walker_.address & edge) == edge ? panel_ - edge : wide;
  }

  const Chip& chip_;
  const int64_t mask_;
  Walker walker_;
  Ring<bool, 16> vectors_;
  int64_t step_ = 0, panel_ = -1, here_ = 0, line_ = 0, taken_ = 0;
  bool known_ = false, needed_ = false, passes_ = false, arriving_ = false, arriving_last_ = false;
};

class VectorUnit {
 public:
  bool busy = false, done = false, issued = false;
  bool waiting_bank = false, waiting_operand = false;

  explicit VectorUnit(const Chip& chip)
      : chip_(chip), a_(chip), b_(chip), fold_bits_(ceil_log2(chip.lanes)),
        mask_((int64_t{1} << chip.operand_address_bits) - 1) {}

  void ask(SramPort& write, SramPort& a, SramPort& b) {
    write.valid = a.valid = b.valid = acc_ = false;
    if (!busy) return;
    bool none = false;
    a_.ask(a, acc_);
    b_.ask(b, none);
    write.valid = write_valid_;
    write.line = write_address_ >> chip_.line_shift;
  }

  // Behind the arbitration; `readable`: the accumulators are.
  void evaluate(const SramPort& write, const SramPort& a, const SramPort& b, bool readable) {
    done = issued = waiting_bank = waiting_operand = false;
    if (!busy) return;
    a_accepted_ = acc_ ? readable : a.accepted();
    b_accepted_ = b.accepted();
    done = write.accepted() && end_;
    waiting_bank = write.refused() || a.refused() || b.refused();
    waiting_operand = acc_ && !readable && !waiting_bank;
    // From the end to the beginning: who can go on.
    const bool results = result_valid_ || special_ >> (chip_.special_cycles - 1) & 1;
    writes_ = results && target_.valid() && (!write.valid || write.ready);
    go_ = !results || writes_;
    takes_ = pair_valid_ && go_;
    const bool needs_b = command_ && command_->reads_b;
    issued = command_ && a_.valid() && (b_.valid() || !needs_b) && (!pair_valid_ || takes_);
    pops_b_ = issued && needs_b;
  }

  // The bank of the accumulators from which it reads.
  int acc_bank() const { return a_.acc_bank(); }

  // Whether it does something but wait for the accumulators.
  bool moves() const {
    if (!busy) return false;
    const bool flows = issued || takes_ || writes_ || write_valid_ || a_accepted_ || b_accepted_;
    return flows || start_ || a_.moves() || b_.moves();
  }

  void step(const SramPort& write, const Command* start) {
    if (busy) {
      move(write);
      if (start_) begin(*start_);
      start_ = nullptr;
    }
    if (done) busy = false;
    if (start) busy = true, start_ = start;
  }

 private:
  void move(const SramPort& write) {
    if (writes_) {
      write_valid_ = true;
      write_address_ = target_.address, end_ = target_.end();
    } else if (write.ready) {
      write_valid_ = false;
    }
    if (go_ && command_) fold_and_finish();
    if (issued) pair_valid_ = true, pair_last_ = a_.last();
    else if (takes_) pair_valid_ = false;
    target_.advance(command_ ? command_->result_bytes : 0, writes_, mask_);
    a_.step(a_accepted_, issued);
    b_.step(b_accepted_, pops_b_);
  }

  // The lanes' registers, where nothing holds them up (rtl/vector_lanes.py).
  void fold_and_finish() {
    const bool special = command_->kind == kSpecial, reduces = command_->kind == kReduce;
    special_ = (special_ << 1 | (takes_ && special)) & ((1 << chip_.special_cycles) - 1);
    const bool ended = takes_ && pair_last_ && reduces;
    fold_ = (fold_ << 1 | ended) & ((int64_t{2} << fold_bits_) - 1);
    result_valid_ = reduces ? fold_ >> fold_bits_ & 1 : takes_ && !special;
  }

  void begin(const Command& c) {
    command_ = &c;
    const int64_t vectors = (c.columns - 1) / chip_.lanes, acc_row = 4 * chip_.cols;
    const int64_t base = c.from_acc ? c.a * acc_row : c.a;
    a_.begin(base, c.from_acc ? acc_row : c.astride, c.rows, vectors, 0, c.skip, c.a_bytes,
             c.from_acc ? c.astride * acc_row : -1);
    if (c.reads_b)
      b_.begin(c.b, c.bstride, c.rows, vectors, c.rep, 0, c.is_column ? 0 : c.b_bytes, -1);
    target_.begin(c.dst & mask_, c.dstride, c.rows, c.kind == kReduce ? 0 : vectors, 0, 0);
  }

  const Chip& chip_;
  Source a_, b_;
  Walker target_;
  const int64_t fold_bits_, mask_;
  const Command* command_ = nullptr;
  const Command* start_ = nullptr;
  int64_t write_address_ = 0, fold_ = 0, special_ = 0;
  bool acc_ = false, a_accepted_ = false, b_accepted_ = false, pops_b_ = false;
  bool pair_valid_ = false, pair_last_ = false, result_valid_ = false, takes_ = false, go_ = false;
  bool writes_ = false, write_valid_ = false, end_ = false;
};

}  // namespace cycle
