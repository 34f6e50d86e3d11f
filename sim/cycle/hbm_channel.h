// One pseudo-channel's controller (rtl/hbm_controller.py): bursts become accesses and come back.

#pragma once

#include <algorithm>

#include "hbm_reads.h"
#include "hbm_scheduler.h"
#include "hbm_types.h"
#include "hbm_writes.h"

namespace cycle {

// A burst for a channel, in its beats.
struct Asked {
  bool taken = false;
  int64_t beat = 0, beats = 0;
};

// Bytes of a beat of the port that are written, and when it came.
struct WriteWord {
  int64_t from, to, at;
};

// Both halves, and the scheduler between them and the device. Nobody sees what happens inside
// unless he asks: a channel is followed, cycle by cycle, only when the port needs to know something
// of it, and cycles in which nothing can happen are passed over.
class Channel {
 public:
  Channel(const Hbm& hbm, const Places& places, int64_t parts, int64_t waiting, HbmCounts& counts)
      : hbm_(hbm), places_(places), parts_(parts), counts_(counts), returns_(hbm, parts, waiting),
        writes_(hbm), scheduler_(hbm) {}

  // All that happens before cycle `to`, which no other call may be behind.
  void follow(int64_t to) {
    while (now_ < to) {
      if (kLeaps && next_ > now_) now_ = std::min(next_, to);
      else if (reads_alone()) follow_reads(to);
      else cycle();
    }
  }

  // Whether in cycle `now` a burst is taken, a write is answered, a beat is there for the port.
  bool takes_read(int64_t now) {
    if (kLeaps && now < read_ready_at_) return false;
    follow(now);
    if (!burst_.active) return true;
    if (burst_.last()) {
      if (reads_alone()) return read_goes();
      prepare();
      return going_;
    }
    const int64_t room = scheduler_.read_room() ? now : std::max(scheduler_.next, now) + 1;
    read_ready_at_ = room + burst_.columns() - 1;
    return false;
  }
  bool takes_write(int64_t now) {
    follow(now);
    if (!writes_.burst.active) return true;
    prepare();
    return writes_.ready;
  }
  bool answers(int64_t now) {
    follow(now);
    return writes_.bvalid;
  }
  bool has_beat(int64_t now) {
    if (returns_.gathered) return true;
    if (kLeaps && now < beat_at_) return false;
    if (now_ < returns_.needs(now)) follow(now);
    returns_.follow(now);
    if (returns_.gathered) return true;
    beat_at_ = returns_.next(now_);
    return false;
  }
  // Whether so many beats that are to be written wait in cycle `now`.
  bool full(int64_t now, int waiting) {
    if (spread_.size() != waiting) return false;
    follow(now);
    return spread_.size() == waiting;
  }

  // What the port does in cycle `now`, up to which this is followed: a burst is given, the answer
  // is taken.
  void ask_read(const Asked& burst) { read_ = burst, next_ = now_; }
  void ask_write(const Asked& burst) { write_ = burst, next_ = now_; }
  void take_answer() { bready_ = true, next_ = now_; }
  // The same; this need not be followed that far.
  void take_beat(int64_t now) {
    if (now_ < returns_.needs(now)) follow(now);
    returns_.follow(now);
    returns_.take(now);
  }
  void give_beat(const WriteWord& word) {
    spread_.push(word);
    next_ = std::min(next_, word.at + 1);
  }

 private:
  // What depends on earlier cycles only.
  void prepare() {
    write_room_ = scheduler_.write_room();
    const bool wvalid = !spread_.empty() && spread_.front().at < now_;
    writes_work_ = wvalid || !writes_.rests() || writes_.next() == now_;
    if (writes_work_) {
      const WriteWord word = wvalid ? spread_.front() : WriteWord{};
      const int64_t first = spread_part_ * hbm_.beat_bytes;
      const int64_t from = std::max<int64_t>(word.from - first, 0);
      const int64_t to = std::min(word.to - first, hbm_.beat_bytes);
      writes_.evaluate(now_, wvalid, from, to, write_room_);
      spreads_ = wvalid && writes_.wready;
    } else {
      writes_.pause();
      spreads_ = false;
    }
    read_room_ = scheduler_.read_room() && !writes_.offers;
    going_ = burst_.active && read_room_ && !writes_.fetches && returns_.room(now_);
  }

  // Nothing is to be written, and nothing will be unless the port brings it.
  bool reads_alone() const {
    const bool none = !scheduler_.some_write() && writes_.rests() && spread_.empty();
    return kLeaps && none && writes_.next() == kNever && !write_.taken && fetched_at_ + 1 < now_;
  }
  bool read_goes() { return burst_.active && scheduler_.read_room() && returns_.room(now_); }

  void follow_reads(int64_t to) {
    while (now_ < to) {
      const bool goes = read_goes();
      if (scheduler_.next <= now_) {
        scheduler_.step(now_, counts_);
        if (scheduler_.read_made) returns_.read(now_, scheduler_.made.slot);
      }
      if (goes) enter_read(false), burst_.step();
      if (read_.taken) start(burst_, read_), read_.taken = false;
      ++now_;
      next_ = burst_.active && scheduler_.read_room() ? now_ : std::max(scheduler_.next, now_);
      if (next_ > now_) now_ = std::min(next_, to);
    }
  }

  // Cycle `now_`.
  void cycle() {
    prepare();
    const bool fetches = writes_.fetches && read_room_, enters = writes_.enters(write_room_);
    bool read_made = false, write_made = false;
    if (!kLeaps || scheduler_.next <= now_) {
      scheduler_.step(now_, counts_);
      read_made = scheduler_.read_made, write_made = scheduler_.write_made;
    }
    if (going_ || fetches) enter_read(fetches);
    if (enters) enter_write();
    const bool fetched = now_ == fetched_at_ || now_ == fetched_at_ + 1;
    const Access made = scheduler_.made;
    if (read_made && made.fetch) fetched_at_ = now_ + hbm_.cl + 1;
    else if (read_made) returns_.read(now_, made.slot);
    if (writes_work_ || write_made)
      writes_.step(now_, write_made ? &made : nullptr, bready_, fetches, fetched);
    if (going_) burst_.step();
    if (spreads_ && ++spread_part_ == parts_) spread_part_ = 0, spread_.pop();
    take_bursts();
    next_ = next_event(++now_);
  }

  void enter_read(bool fetch) {
    const Burst& burst = fetch ? writes_.burst : burst_;
    Access access = places_.column(burst.begin, burst.beat * hbm_.beat_bytes);
    access.fetch = fetch;
    if (!fetch) {
      access.slot = returns_.next_slot();
      returns_.ask(burst.half(), burst.both());
    }
    scheduler_.enter(now_, false, access);
  }
  void enter_write() {
    const Burst& burst = writes_.burst;
    Access access = places_.column(burst.begin, burst.beat * hbm_.beat_bytes);
    read_ready_at_ = 0;  // what is decided next may come earlier now
    access.slot = writes_.next_slot();
    scheduler_.enter(now_, true, access);
  }

  void take_bursts() {
    if (read_.taken) start(burst_, read_), read_.taken = false;
    if (write_.taken) start(writes_.burst, write_), write_.taken = false;
    bready_ = false;
  }
  void start(Burst& burst, const Asked& asked) const {
    burst.start(asked.beat, asked.beats, places_.begin(asked.beat * hbm_.beat_bytes));
  }

  // The first cycle from `now` on in which something may happen, if nothing comes.
  int64_t next_event(int64_t now) const {
    if (!writes_.rests() || fetched_at_ + 1 >= now) return now;
    if (burst_.active && scheduler_.read_room()) return now;
    const int64_t word = spread_.empty() ? kNever : spread_.front().at + 1;
    return std::max(std::min({scheduler_.next, writes_.next(), word}), now);
  }

  const Hbm& hbm_;
  const Places& places_;
  const int64_t parts_;
  HbmCounts& counts_;
  Burst burst_;
  Returns returns_;
  ChannelWrites writes_;
  Scheduler scheduler_;
  Ring<WriteWord, 1024> spread_;
  Asked read_, write_;  // taken at the end of this cycle
  bool bready_ = false;
  int64_t now_ = 0, next_ = 0;       // followed up to here; before there nothing happens
  int64_t read_ready_at_ = 0, beat_at_ = 0;  // not before
  int64_t fetched_at_ = -2, spread_part_ = 0;
  bool read_room_ = false, write_room_ = false, going_ = false;
  bool writes_work_ = false, spreads_ = false;
};

}  // namespace cycle
