// The two walks of a DMA instruction (rtl/dma.py): bursts through HBM and lines through the SRAM.

#pragma once

#include "types.h"

namespace cycle {

// Where a walk's next row begins, plane by plane.
struct Rows {
  int64_t row = 0, stride = 0, plane = 0, distance = 0, rows = 0, left = 0, planes = 0;

  void begin(const Command& command, int64_t start, int64_t row_stride, int64_t plane_distance) {
    row = plane = start, stride = row_stride, distance = plane_distance;
    rows = left = command.rows;
    planes = command.planes;
  }
  bool plane_ends() const { return left == 1; }
  int64_t next() const { return plane_ends() ? plane + distance : row + stride; }
  bool last() const { return plane_ends() && planes <= 1; }
  void advance() {
    const bool ends = plane_ends();
    row = next();
    --left;
    if (!ends) return;
    plane = row, left = rows, --planes;
  }
};

// Cuts rows into bursts, from the beat with a row's first byte to that with its last one.
class BurstWalk {
 public:
  bool active = false, missing = false;

  explicit BurstWalk(const Chip& chip)
      : chip_(chip), shift_(ceil_log2(chip.axi_bytes)), page_beats_(chip.page_bytes >> shift_) {}

  bool valid() const { return active && !missing; }
  int64_t address() const { return address_ << shift_; }
  int64_t lead() const { return lead_; }
  bool first() const { return first_; }
  bool last() const { return rest_ < limit(); }
  int64_t beats() const { return last() ? rest_ + 1 : limit(); }
  // Whether the row at hand is the one that the list of a gather gives.
  bool takes_row(bool taken) const { return gather_ && ((taken && last()) || missing); }

  void begin(const Command& command) {
    rows_.begin(command, command.hbm, command.hstride, command.hplane);
    offset_ = command.offset, reach_ = command.bytes - 1;
    gather_ = missing = command.kind == kGather;
    active = true;
    enter(command.hbm);
  }

  // `number`: the atom of the next row of a gather, of which there is one if `known`.
  void step(bool taken, bool known, int64_t number) {
    const bool over = taken && last();
    if (over || missing) {
      const int64_t following = gather_ ? number : rows_.next();
      if (over) {
        active = !rows_.last();
        rows_.advance();
      }
      missing = gather_ && !known;
      enter(following);
    } else if (taken) {
      const int64_t count = beats();
      address_ += count, rest_ -= count, first_ = false;
    }
  }

 private:
  int64_t limit() const {
    const int64_t to_page = page_beats_ - (address_ & (page_beats_ - 1));
    return to_page < chip_.burst_beats ? to_page : chip_.burst_beats;
  }
  void enter(int64_t atom) {
    const int64_t place = atom * chip_.atom_bytes + offset_;
    address_ = place >> shift_;
    lead_ = place & (chip_.axi_bytes - 1);
    rest_ = (lead_ + reach_) >> shift_;
    first_ = true;
  }

  const Chip& chip_;
  const int64_t shift_, page_beats_;
  Rows rows_;
  int64_t address_ = 0, rest_ = 0, lead_ = 0, offset_ = 0, reach_ = 0;
  bool first_ = false, gather_ = false;
};

// The SRAM lines of an instruction in order, one a cycle.
class LineWalk {
 public:
  bool active = false;
  int64_t line = 0;

  explicit LineWalk(const Chip& chip) : chip_(chip), shift_(ceil_log2(chip.line_bytes)) {}

  void begin(const Command& command) {
    rows_.begin(command, command.sram >> shift_, command.sstride >> shift_,
                command.splane >> shift_);
    line = command.sram >> shift_;
    behind_ = rest_ = (command.bytes - 1) >> shift_;
    active = true;
  }

  void step(bool taken) {
    if (!taken || !active) return;
    ++line;
    if (rest_-- == 0) {
      line = rows_.next();
      rest_ = behind_;
      active = !rows_.last();
      rows_.advance();
    }
    line &= chip_.sram_lines - 1;
  }

 private:
  const Chip& chip_;
  const int64_t shift_;
  Rows rows_;
  int64_t behind_ = 0, rest_ = 0;
};

}  // namespace cycle
