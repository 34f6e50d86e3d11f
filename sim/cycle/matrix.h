// The matrix unit (rtl/matrix.py and its parts): weights, activation rows, accumulators.

#pragma once

#include <algorithm>

#include "sram.h"
#include "types.h"

namespace cycle {

// Steps of the loads of weights, tile by tile (rtl/matrix_steps.py, rtl/matrix_place.py), and when
// the shadow registers are free for them (rtl/matrix_weights.py).
class WeightLoader {
 public:
  bool tile_ready = false;

  explicit WeightLoader(const Chip& chip) : chip_(chip) {}

  void begin(const Command* command) {
    command_ = command;
    more_ = true;
    enter(command->w);
    n_left_ = command->n;
    known_ = -1;
  }

  void ask(SramPort& port) {
    port.valid = begins_ = valid_ = scales_ = false;
    if (!more_ && !inside_) return;
    const Command& c = *command_;
    const bool waits = more_ && !inside_;
    scales_ = waits && c.scale_block && !(first_row_ & (c.scale_block - 1)) && !scales_done_;
    packed_now_ = inside_ ? packed_ : dense();
    const int64_t ahead = c.transposed ? 0 : packed_now_ ? chip_.rows_ahead
                                                         : chip_.rows;
    begins_ = waits && !scales_ && free_ && timer_ <= ahead;
    valid_ = begins_ || inside_;
    rows_ = packed_now_ ? chip_.group_rows : 1;
    last_step_ = index_ == (c.transposed ? chip_.cols - 1 : chip_.rows - rows_);
    k_count_ = std::min(k_left_, chip_.rows);
    const bool inside_k_n = c.transposed ? index_ < std::min(n_left_, chip_.cols) : k_count_ != 0;
    const int64_t address = scales_ ? scale_address_ : base_ + along_k_;
    port.line = (address & kAddressMask) >> chip_.line_shift;
    port.valid = (scales_ || (valid_ && inside_k_n)) && port.line != known_;
    if (port.valid) known_ = port.line;
  }

  void step(bool tile_taken) {
    if (begun_) tile_ready = true;
    if (begins_) free_ = false;
    if (timer_) --timer_;
    if (tile_taken) tile_ready = false, free_ = true, timer_ = chip_.rows - 3;
    begun_ = begins_;
    if (valid_) take_step();
    else if (scales_) take_scales();
  }

  // Whether something is still to be read.
  bool loading() const { return more_ || inside_; }

  // Whether nothing begins until the next tile is taken.
  bool quiet() const {
    const bool scales_there = !command_->scale_block || scales_done_;
    return !inside_ && !begun_ && (!more_ || (!free_ && scales_there));
  }
  void pass(int64_t cycles) { timer_ = std::max<int64_t>(timer_ - cycles, 0); }

 private:
  static constexpr int64_t kAddressMask = (1 << 24) - 1;

  bool dense() const {
    const Command& c = *command_;
    const int64_t mask = c.weight_unit * chip_.group_rows - 1;
    return !c.transposed && c.wstride == c.weight_unit &&
           (base_ & mask & (chip_.line_bytes - 1)) == 0;
  }

  void enter(int64_t panel) {
    panel_ = scale_address_ = panel;
    base_ = panel + command_->scale_header;
    along_k_ = first_row_ = 0;
    k_left_ = command_->k;
  }

  void take_scales() {
    const bool last = k_count_ <= (index_ + 1) * command_->scale_block;
    index_ = last ? 0 : index_ + 1;
    scales_done_ |= last;
    scale_address_ += command_->scale_row_bytes;
  }

  void take_step() {
    const Command& c = *command_;
    const int64_t used = c.transposed ? (last_step_ ? chip_.rows : 0)
                                      : packed_now_ ? chip_.group_rows : 1;
    const int64_t k_next = std::max<int64_t>(k_left_ - used, 0);
    const bool last_tile = last_step_ && k_next == 0;
    packed_ = packed_now_;
    inside_ = !last_step_;
    index_ = last_step_ ? 0 : index_ + rows_;
    more_ = !(last_tile && n_left_ <= chip_.cols);
    if (last_step_) {
      scales_done_ = false;
      first_row_ += chip_.rows;
    }
    if (last_tile) {
      n_left_ -= chip_.cols;
      enter(panel_ + c.wpanel);
      return;
    }
    base_ += packed_now_ ? c.weight_unit * chip_.group_rows : c.wstride;
    k_left_ = k_next;
    if (last_step_ && c.transposed) {
      base_ = panel_ + c.scale_header;
      along_k_ += c.weight_unit;
    }
  }

  const Chip& chip_;
  const Command* command_ = nullptr;
  int64_t base_ = 0, along_k_ = 0, panel_ = 0, scale_address_ = 0;
  int64_t k_left_ = 0, n_left_ = 0, k_count_ = 0, index_ = 0, rows_ = 0, first_row_ = 0;
  int64_t timer_ = 0, known_ = -1;  // the line that was read last
  bool more_ = false, inside_ = false, packed_ = false, packed_now_ = false, last_step_ = false;
  bool scales_ = false, scales_done_ = false, valid_ = false, begins_ = false, begun_ = false;
  bool free_ = true;
};

// What becomes of a row: rtl/accumulator.py, and whether it is its tile's first.
struct RowTag {
  bool swap = false, adds = false, last = false;
  uint8_t bank = 0;  // of the accumulators
};

// The activation rows in the order in which they are read (rtl/matrix_rows.py).
class RowSequence {
 public:
  bool valid = false;

  explicit RowSequence(const Chip& chip) : chip_(chip) {}

  int64_t line() const { return (address_ & ((1 << 24) - 1)) >> chip_.line_shift; }
  RowTag tag() const {
    const bool end = m_left_ == 1 && k_left_ <= chip_.rows && n_left_ <= chip_.cols;
    const uint8_t bank = acc_ >> chip_.acc_bank_shift;
    return {first_row_, command_->accumulates || !first_tile_, end, bank};
  }

  void begin(const Command* command) {
    command_ = command;
    valid = first_row_ = first_tile_ = true;
    address_ = tile_ = command->a;
    acc_ = panel_acc_ = command->acc;
    m_left_ = command->m, k_left_ = command->k, n_left_ = command->n;
  }

  // Rows before the last one of the tile and of the accumulators' bank, if its first has gone.
  int64_t inner_rows() const {
    const int64_t in_bank = (int64_t{1} << chip_.acc_bank_shift) - 1;
    return valid && !first_row_ ? std::min(m_left_ - 1, in_bank - (acc_ & in_bank)) : 0;
  }
  void skip(int64_t rows) { address_ += rows * command_->astride, acc_ += rows, m_left_ -= rows; }

  void advance() {
    address_ += command_->astride;
    ++acc_;
    first_row_ = m_left_ == 1;
    if (--m_left_) return;
    const bool last_tile = k_left_ <= chip_.rows;
    address_ = tile_ = last_tile ? command_->a : tile_ + chip_.array_row_bytes;
    m_left_ = command_->m;
    k_left_ = last_tile ? command_->k : k_left_ - chip_.rows;
    first_tile_ = last_tile;
    if (!last_tile) {
      acc_ = panel_acc_;
      return;
    }
    panel_acc_ = acc_;
    valid = n_left_ > chip_.cols;
    n_left_ -= chip_.cols;
  }

 private:
  const Chip& chip_;
  const Command* command_ = nullptr;
  int64_t address_ = 0, tile_ = 0, acc_ = 0, panel_acc_ = 0;
  int64_t m_left_ = 0, k_left_ = 0, n_left_ = 0;
  bool first_row_ = false, first_tile_ = false;
};

class MatrixUnit {
 public:
  bool done = false;
  bool row = false, waiting_operand = false, waiting_bank = false;

  explicit MatrixUnit(const Chip& chip)
      : chip_(chip), loader_(chip), sequence_(chip), reader_(chip.reader_depth) {}

  void ask(SramPort& weights, SramPort& activations) {
    weights.valid = activations.valid = done = false;
    if (!at_work_) {
      row = false;
      return;
    }
    loader_.ask(weights);
    reader_.request(activations, sequence_.valid, sequence_.valid ? sequence_.line() : 0);
    done = controls_[(now_ - chip_.rows - chip_.cols - 1) % kSlots] & kLast;
    count_adding(now_ - chip_.rows, 1);
    count_adding(now_ - chip_.rows - chip_.cols, -1);
  }

  // Whether it takes a command.
  bool ready() const { return !feeding_; }

  // Whether the vector unit may read accumulators of a bank.
  bool readable(int bank) const { return adding_[bank] == 0; }

  // Whether it may not, now and as long as rows that add keep coming there.
  bool unreadable(int bank) const {
    return run_bank_ == bank && adding_run_ > chip_.rows + chip_.cols;
  }

  void step(const SramPort& activations, const Command* start) {
    bool last = false;
    const bool loading = loader_.loading();
    if (at_work_) {
      if (start_) loader_.begin(start_), sequence_.begin(start_);
      const bool offered = reader_.valid();
      const bool taken = offered && (loader_.tile_ready || !reader_.tag().swap);
      const RowTag tag = taken ? reader_.tag() : RowTag{};
      last = tag.last;
      const bool accepted = activations.accepted();
      waiting_operand = offered && !taken;
      waiting_bank = !offered && refused_ & 2;
      refused_ = refused_ << 1 | activations.refused();
      reader_.step(accepted, accepted ? sequence_.tag() : RowTag{}, taken);
      if (accepted) sequence_.advance();
      loader_.step(taken && tag.swap);
      row = taken;
      const uint8_t control = taken ? control_of(tag) : 0;
      controls_[++now_ % kSlots] = control;
      adding_run_ = !(control & kAdds) ? 0 : tag.bank == run_bank_ ? adding_run_ + 1 : 1;
      run_bank_ = tag.bank;
      start_ = nullptr;
    }
    const bool over = last || fed_;
    fed_ = over && loading;
    if (over && !loading) feeding_ = false;
    if (start) feeding_ = true, start_ = start;
    at_work_ += (start != nullptr) - done;
  }

  // For how many cycles a row enters in each and nothing else changes, if no other client of the
  // SRAM works: from inside a tile up to its last row.
  int64_t steady() {
    if (at_work_ != 1 || !feeding_ || start_ || !row || waiting_bank || waiting_operand || refused_ & 3) return 0;
    if (!reader_.flows() || !loader_.quiet()) return 0;
    const int64_t rows = sequence_.inner_rows();
    if (!rows) return 0;
    const RowTag now = sequence_.tag();
    const auto same = [now](const RowTag& tag) {
      return !tag.swap && !tag.last && tag.adds == now.adds && tag.bank == now.bank;
    };
    return reader_.all(same) ? rows : 0;
  }

  // So many of these cycles pass.
  void leap(int64_t cycles) {
    const uint8_t control = control_of(sequence_.tag());
    const int64_t reach = chip_.rows + chip_.cols + 1;
    sequence_.skip(cycles);
    loader_.pass(cycles);
    now_ += cycles;
    for (int64_t back = 0; back < std::min(cycles, reach); ++back)
      controls_[(now_ - back) % kSlots] = control;
    for (int64_t& adding : adding_) adding = 0;
    for (int64_t back = chip_.rows + 1; back < reach; ++back) count_adding(now_ - back, 1);
  }

 private:
  static constexpr uint64_t kSlots = 1024;
  static constexpr int kMostBanks = 16;
  static constexpr uint8_t kAdds = 1, kLast = 2, kBank = 4;  // and the bank's number above

  static uint8_t control_of(const RowTag& tag) {
    return uint8_t((tag.adds ? kAdds : 0) | (tag.last ? kLast : 0) | tag.bank * kBank);
  }
  void count_adding(uint64_t when, int change) {
    const uint8_t control = controls_[when % kSlots];
    if (control & kAdds) adding_[control / kBank] += change;
  }

  const Chip& chip_;
  WeightLoader loader_;
  RowSequence sequence_;
  LineReader<RowTag> reader_;
  const Command* start_ = nullptr;
  uint8_t controls_[kSlots] = {};
  uint64_t now_ = kSlots;
  int64_t at_work_ = 0;  // commands
  bool feeding_ = false, fed_ = false;  // the last one's rows or weights are read; its rows were
  int64_t adding_[kMostBanks] = {};  // rows that add, in the columns
  int64_t adding_run_ = 0;          // cycles without any other, to this bank:
  int run_bank_ = 0;
  uint32_t refused_ = 0;
};

}  // namespace cycle
