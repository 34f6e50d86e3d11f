// First ready, first come, first served (rtl/hbm_scheduler.py).

#pragma once

#include "hbm_guard.h"
#include "hbm_types.h"
#include "hbm_window.h"

namespace cycle {

class Scheduler {
 public:
  bool read_made = false, write_made = false;
  Access made;  // the column access of this cycle

  explicit Scheduler(const Hbm& hbm)
      : hbm_(hbm), guard_(hbm), refresh_(hbm), reads_(hbm), writes_(hbm) {}

  bool read_room() const { return reads_.room(); }
  bool write_room() const { return writes_.room(); }
  bool idle() const { return reads_.level == 0 && writes_.level == 0; }

  // Whether nothing can happen before cycle `next(now)` and before a refresh becomes due or an
  // access old, which is after `left_to_rest()` cycles.
  bool rests() const { return still_ && refresh_.rests(); }
  int64_t next(int64_t now) const {
    return idle() ? kNever : guard_.next(now, reads_.used | writes_.used);
  }
  int64_t left_to_rest() const {
    return std::min({refresh_.left_to_rest(), reads_.left_to_age(), writes_.left_to_age()});
  }
  void rest(int64_t cycles) {
    refresh_.rest(cycles, idle());
    reads_.rest(cycles), writes_.rest(cycles);
  }

  // The commands of cycle `now`.
  void decide(int64_t now) {
    guard_.look(now, refresh_.works() ? kAllBanks : reads_.used | writes_.used);
    command_ = RowCommand{};
    const bool refreshes = refresh_.wants(guard_, command_);
    from_refresh_ = refreshes;
    const BankSet free = ~refresh_.hold;
    read_made = write_made = false;
    if (idle()) return;
    const BankSet for_reads = free & (writing_ ? ~writes_.used : ~0u);
    const BankSet for_writes = free & (writing_ ? ~0u : ~reads_.used);
    reads_.pick(guard_.can_read & free, guard_.can_act & for_reads, guard_.can_pre & for_reads);
    writes_.pick(guard_.can_write & free, guard_.can_act & for_writes,
                 guard_.can_pre & for_writes);
    read_made = !writing_ && reads_.column >= 0;
    write_made = writing_ && writes_.column >= 0;
    if (read_made) made = reads_[reads_.column];
    if (write_made) made = writes_[writes_.column];
    if (refreshes) return;
    if (!choose(writing_ ? writes_ : reads_)) choose(writing_ ? reads_ : writes_);
  }

  // `reads`, `writes`: an access is taken into the window.
  void step(bool reads, const Access& read, bool writes, const Access& write, HbmCounts& counts) {
    count(counts);
    const bool at_rest = idle();
    const bool read_open = reads && guard_.is_open(read);
    const bool write_open = writes && guard_.is_open(write);
    const bool turned = turn(), read_old = reads_.old, write_old = writes_.old;
    still_ = !turned && !reads && !writes && !read_made && !write_made && !command_.any();
    guard_.take(command_);
    if (read_made) guard_.read(made.bank);
    if (write_made) guard_.write(made.bank);
    reads_.step(read_made ? reads_.column : -1, reads, read, read_open, command_);
    writes_.step(write_made ? writes_.column : -1, writes, write, write_open, command_);
    // One that grows old may turn the direction in the next cycle.
    still_ = still_ && read_old == reads_.old && write_old == writes_.old;
    refresh_.step(command_, at_rest);
  }

 private:
  bool choose(const Window& window) {
    if (window.act >= 0) {
      command_.act = true;
      command_.bank = window[window.act].bank, command_.row = window[window.act].row;
    } else if (window.pre >= 0) {
      command_.pre = true;
      command_.bank = window[window.pre].bank;
    }
    return window.act >= 0 || window.pre >= 0;
  }

  // Whether reads are served from now on instead of writes, or the other way round.
  bool turn() {
    const int depth = int(hbm_.depth), high = depth - depth / 8;
    const bool some_reads = reads_.level != 0, some_writes = writes_.level != 0;
    const bool whole = batch_ == depth;
    const bool begin = some_writes && (writes_.level >= high || !some_reads || writes_.old);
    const bool end = !some_writes || (some_reads && whole);
    const bool turns = writing_ ? end : begin && !(!whole && reads_.old);
    if (turns) writing_ = !writing_, batch_ = 0;
    else if ((read_made || write_made) && !whole) ++batch_;
    return turns;
  }

  void count(HbmCounts& counts) {
    const bool some = read_made || write_made;
    counts.reads += read_made, counts.writes += write_made;
    counts.turnarounds += some && some_ && wrote_ != write_made;
    counts.row_misses += command_.act;
    counts.row_conflicts += command_.pre && !from_refresh_;
    counts.refreshes += command_.ref_all || command_.ref_bank;
    if (some) {
      counts.row_hits += used_ >> made.bank & 1;
      used_ |= 1u << made.bank;
      some_ = true, wrote_ = write_made;
    }
    if (command_.act) used_ &= ~(1u << command_.bank);
  }

  const Hbm& hbm_;
  Guard16 guard_;
  Refresh refresh_;
  Window reads_, writes_;
  RowCommand command_;
  int batch_ = 0;
  BankSet used_ = 0;
  bool still_ = false;  // nothing was decided or taken in this cycle
  bool writing_ = false, from_refresh_ = false, some_ = false, wrote_ = false;
};

}  // namespace cycle
