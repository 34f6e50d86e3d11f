// First ready, first come, first served (rtl/hbm_scheduler.py).

#pragma once

#include "hbm_guard.h"
#include "hbm_refresh.h"
#include "hbm_types.h"
#include "hbm_window.h"

namespace cycle {

class Scheduler {
 public:
  bool read_made = false, write_made = false;
  Access made;       // the column access of the last step
  int64_t next = 0;  // before that cycle nothing can be decided, and no step is needed

  explicit Scheduler(const Hbm& hbm)
      : hbm_(hbm), guard_(hbm), refresh_(hbm), reads_(hbm), writes_(hbm) {}

  bool read_room() const { return reads_.room(); }
  bool write_room() const { return writes_.room(); }
  bool some_write() const { return writes_.level; }

  // Cycle `now`, but for accesses that come in it.
  void step(int64_t now, HbmCounts& counts) {
    if (kLeaps && streams_ && now < quiet_until_) stream(now, counts);
    else decide_all(now, counts);
  }

  // An access comes in cycle `now`, behind its step if there is one.
  void enter(int64_t now, bool write, const Access& access) {
    Window& window = write ? writes_ : reads_;
    const bool hits = guard_.is_open(access), first = idle();
    // A refresh that waited for quiet has seen it up to this cycle.
    bool soon = false;
    if (first) {
      soon = refresh_.due();
      if (!soon) refresh_.end_idle();
      ended_ = soon;
    }
    window.enter(now, access, hits);
    if (first) {
      streams_ = !soon && !refresh_.works();
      quiet_until_ = std::min(refresh_.next(now), window.next_old());
    }
    const bool goes_on = streams_ && write == writing_ && hits;
    streams_ = goes_on;
    if (soon || (!goes_on && turns(now + 1))) next = now + 1;
    else next = std::min(next, std::max(guard_.next_of(access, hits, write), now + 1));
    if (window.level == 1) next = std::min(next, window.next_old());
  }

 private:
  bool idle() const { return reads_.level == 0 && writes_.level == 0; }

  void decide_all(int64_t now, HbmCounts& counts) {
    decide(now);
    count(counts);
    const bool turned = turn(now);
    guard_.take(command_);
    tell(reads_), tell(writes_);
    if (read_made) guard_.column(made.bank, false), reads_.remove(now, reads_.column);
    if (write_made) guard_.column(made.bank, true), writes_.remove(now, writes_.column);
    refresh_.step(now, command_);
    if (ended_) refresh_.end_idle(), ended_ = false;
    if ((read_made || write_made) && idle()) refresh_.begin_idle(now + 1);
    quiet_until_ = std::min({refresh_.next(now), next_old(reads_, now), next_old(writes_, now)});
    next = std::min(after(now, turned), quiet_until_);
    const Window& served = writing_ ? writes_ : reads_;
    const Window& other = writing_ ? reads_ : writes_;
    streams_ = next > now + 1 && other.level == 0 && served.some_hit() && !served.some_miss();
  }

  // The same while only row hits of one direction wait, and neither a refresh nor age counts.
  void stream(int64_t now, HbmCounts& counts) {
    Window& served = writing_ ? writes_ : reads_;
    guard_.look(now);
    const int age = guard_.first_column(served, writing_);
    read_made = !writing_ && age >= 0, write_made = writing_ && age >= 0;
    if (age >= 0) {
      made = served[age];
      command_ = RowCommand{};
      count_column(counts);
      guard_.column(made.bank, writing_);
      served.remove(now, age);
      if (batch_ != hbm_.depth) ++batch_;
      if (age == 0) quiet_until_ = std::min(quiet_until_, std::max(served.next_old(), now + 1));
      if (served.level == 0) {
        refresh_.begin_idle(now + 1), streams_ = false;
        next = writing_ ? now + 1 : std::min(refresh_.next(now), quiet_until_);
        return;
      }
    }
    next = std::min(guard_.next_column(served.used, writing_), quiet_until_);
  }

  void decide(int64_t now) {
    guard_.look(now);
    command_ = RowCommand{};
    from_refresh_ = refresh_.wants(guard_, command_);
    read_made = write_made = false;
    if (idle()) return;
    const BankSet free = ~refresh_.hold;
    if (!writing_ && reads_.level) {
      reads_.pick_column(guard_.can_column(false) & free, now);
      read_made = reads_.column >= 0;
      if (read_made) made = reads_[reads_.column];
    } else if (writing_ && writes_.level) {
      writes_.pick_column(guard_.can_column(true) & free, now);
      write_made = writes_.column >= 0;
      if (write_made) made = writes_[writes_.column];
    }
    if (from_refresh_ || !(reads_.some_miss() || writes_.some_miss())) return;
    const BankSet acts = guard_.can_act() & free, pres = guard_.can_pre() & free;
    if (!(acts | pres)) return;
    Window& served = writing_ ? writes_ : reads_;
    Window& other = writing_ ? reads_ : writes_;
    const BankSet others = ~served.used;
    if (!choose(served, acts, pres, now)) choose(other, acts & others, pres & others, now);
  }

  bool choose(Window& window, BankSet acts, BankSet pres, int64_t now) {
    if (!window.some_miss()) return false;
    window.pick_row(acts, pres, now);
    if (window.act >= 0) {
      command_.act = true;
      command_.bank = window[window.act].bank, command_.row = window[window.act].row;
    } else if (window.pre >= 0) {
      command_.pre = true;
      command_.bank = window[window.pre].bank;
    }
    return window.act >= 0 || window.pre >= 0;
  }

  // Of the rows that are opened and closed.
  void tell(Window& window) const {
    const RowCommand& command = command_;
    if (command.act) window.open(command.bank, command.row);
    if (command.pre || command.pre_all) window.close(command.pre ? 1u << command.bank : kAllBanks);
  }

  // Whether from now on reads are served instead of writes, or the other way round.
  bool turns(int64_t now) const {
    const int depth = int(hbm_.depth), high = depth - depth / 8;
    const bool some_reads = reads_.level != 0, some_writes = writes_.level != 0;
    const bool whole = batch_ == depth;
    if (writing_) return !some_writes || (some_reads && whole);
    const bool begin = some_writes && (writes_.level >= high || !some_reads || writes_.old(now));
    return begin && !(!whole && reads_.old(now));
  }
  bool turn(int64_t now) {
    const bool found = turns(now);
    if (found) writing_ = !writing_, batch_ = 0;
    else if ((read_made || write_made) && batch_ != hbm_.depth) ++batch_;
    return found;
  }

  // When something may be decided behind the step of cycle `now`, or the direction turns.
  int64_t after(int64_t now, bool turned) const {
    if (turned || command_.any() || refresh_.changed || turns(now + 1)) return now + 1;
    if (refresh_.works()) return now + 1;
    const Window& served = writing_ ? writes_ : reads_;
    const bool some_miss = reads_.some_miss() || writes_.some_miss();
    // A bank may be closed once its last hit has gone.
    if (some_miss && (read_made || write_made)) return now + 1;
    const int64_t row = some_miss ? guard_.next_row(reads_.used | writes_.used) : kNever;
    return served.some_hit() ? std::min(row, guard_.next_column(served.used, writing_)) : row;
  }
  // When it shows that the oldest has waited too long.
  static int64_t next_old(const Window& window, int64_t now) {
    return window.next_old() > now ? window.next_old() : kNever;
  }

  void count(HbmCounts& counts) {
    counts.row_misses += command_.act;
    counts.row_conflicts += command_.pre && !from_refresh_;
    counts.refreshes += command_.ref_all || command_.ref_bank;
    if (read_made || write_made) count_column(counts);
    if (command_.act) used_ &= ~(1u << command_.bank);
  }
  void count_column(HbmCounts& counts) {
    counts.reads += read_made, counts.writes += write_made;
    counts.turnarounds += some_ && wrote_ != write_made;
    counts.row_hits += used_ >> made.bank & 1;
    used_ |= 1u << made.bank;
    some_ = true, wrote_ = write_made;
  }

  const Hbm& hbm_;
  Guard16 guard_;
  Refresh refresh_;
  Window reads_, writes_;
  RowCommand command_;
  int batch_ = 0;
  BankSet used_ = 0;  // banks that were read or written since they were opened
  bool writing_ = false, from_refresh_ = false, some_ = false, wrote_ = false;
  bool streams_ = false;  // nothing but row hits of the direction that is served waits
  int64_t quiet_until_ = 0;  // the next step of a refresh, or access that is old
  bool ended_ = false;  // accesses came to a refresh that waited for quiet
};

}  // namespace cycle
