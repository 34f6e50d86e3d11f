// A pseudo-channel's read half (rtl/hbm_reads.py): columns are asked for in order, land as the
// scheduler reads them and leave in order, beat by beat.

#pragma once

#include <algorithm>

#include "hbm_types.h"

namespace cycle {

// A burst, column by column (rtl/hbm_burst.py).
struct Burst {
  bool active = false;
  int64_t beat = 0, left = 0;
  Access begin;  // where its piece begins

  bool half() const { return beat & 1; }
  bool both() const { return !half() && left != 1; }
  int64_t count() const { return both() ? 2 : 1; }
  int64_t columns() const { return (left + half() + 1) / 2; }  // that are left
  bool last() const { return left == count(); }

  void start(int64_t first_beat, int64_t beats, const Access& at) {
    active = true, beat = first_beat, left = beats, begin = at;
  }
  void step() {
    const int64_t by = count();
    active = left != by;
    beat += by, left -= by;
  }
};

// What has been asked for, until the port has it. It is followed only as far as somebody asks:
// when beats leave follows from when columns land and when the port takes beats.
class Returns {
 public:
  int64_t gathered = 0;  // beats of the port that it may take

  Returns(const Hbm& hbm, int64_t parts, int64_t waiting)
      : lag_(hbm.cl + 1), slots_(hbm.slots), parts_(parts), waiting_(waiting) {}

  // Whether a column may be asked for in cycle `now`, up to which it is followed then.
  bool room(int64_t now) {
    if (asked_ - left_ == slots_) follow(now);
    return asked_ < slots_ || (asked_ - left_ < slots_ && slot(asked_).at < now);
  }
  int16_t next_slot() const { return int16_t(asked_ & (slots_ - 1)); }
  void ask(bool half, bool both) { slot(asked_++) = {kNever, half, both}; }
  // The scheduler reads a column in cycle `now`.
  void read(int64_t now, int slot) { columns_[slot].at = now + lag_; }

  // The scheduler's cycles before this one must be known to follow it up to `now`.
  int64_t needs(int64_t now) const { return now - lag_ - 1; }

  // All that happens before cycle `to`.
  void follow(int64_t to) {
    for (;;) {
      if (holds_) {
        const int64_t taken = next_taken(to);
        if (taken >= to) return;
        holds_ = false, free_ = taken;
        if (++part_ == parts_) part_ = 0, ++gathered;
      }
      if (asked_ == left_) return;
      Column& column = slot(left_);
      if (leaves_whole(column, to)) continue;
      // The second half of a column is there a cycle later.
      const int64_t leaves = std::max(column.at + 1 + column.half, free_);
      if (leaves >= to) return;
      holds_ = true, free_ = leaves;
      second_ = column.both && !second_;
      if (second_) continue;
      column.at = leaves, ++left_;
    }
  }

  // The port takes a beat in cycle `now`, up to which this is followed.
  void take(int64_t now) {
    --gathered, taken_at_ = now;
    if (holds_) free_ = std::max(free_, now - 1);  // that on offer was not taken so far
  }

  // No beat is there for the port before that cycle, if none is now; `known`: the scheduler's
  // cycles are, up to this one.
  int64_t next(int64_t known) {
    const int64_t more = parts_ - part_;
    if (holds_) return free_ + more + 1;
    const int64_t landed = asked_ == left_ ? kNever : slot(left_).at;
    return std::max(std::min(landed, known + lag_) + 1, free_) + more + 1;
  }

 private:
  // `at`: when it lands; once it has left, when that was.
  struct Column {
    int64_t at;
    bool half, both;
  };
  Column& slot(int64_t number) { return columns_[number & (slots_ - 1)]; }

  // Both beats of a column at once, where all of that is before `to` and the port has room.
  bool leaves_whole(Column& column, int64_t to) {
    const int64_t leaves = std::max(column.at + 1, free_);
    const bool whole = kLeaps && column.both && !second_ && parts_ > 1;
    if (!whole || leaves + 2 >= to || (part_ + 2 >= parts_ && gathered >= waiting_ - 1))
      return false;
    free_ = leaves + 2, column.at = leaves + 1, ++left_;
    part_ += 2;
    if (part_ >= parts_) part_ -= parts_, ++gathered;
    return true;
  }

  // When the beat on offer is taken, `to` if not before: the last part of a beat of the port needs
  // room among those that wait for it.
  int64_t next_taken(int64_t to) const {
    if (part_ != parts_ - 1 || gathered < waiting_ - 1) return free_ + 1;
    if (gathered == waiting_) return to;
    const bool full = gathered + 1 == waiting_;  // it was up to and with `taken_at_`
    return full ? std::max(free_, taken_at_) + 1 : free_ + 1;
  }

  const int64_t lag_, slots_, parts_, waiting_;
  Column columns_[128] = {};
  int64_t asked_ = 0, left_ = 0, part_ = 0, taken_at_ = -1;
  int64_t free_ = 0;      // when the beat on offer came there, or the last one was taken
  bool holds_ = false;    // a beat is on offer
  bool second_ = false;   // the second half of the oldest column is next
};

}  // namespace cycle
