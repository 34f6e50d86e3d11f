// A pseudo-channel's write half (rtl/hbm_writes.py), with what it reads first (rtl/hbm_merge.py).

#pragma once

#include "hbm_reads.h"
#include "hbm_types.h"

namespace cycle {

// So many cycles after an access was decided, its tag comes out.
class Pipe {
 public:
  explicit Pipe(int64_t cycles) : cycles_(cycles) {}

  bool here(int64_t now) const { return !tags_.empty() && tags_.front().at + cycles_ == now; }
  const Access& tag() const { return tags_.front().access; }
  // When the next one comes out.
  int64_t next() const { return tags_.empty() ? kNever : tags_.front().at + cycles_; }
  void pop() { tags_.pop(); }
  void push(int64_t now, const Access& access) { tags_.push({now, access}); }

 private:
  struct Entry {
    int64_t at;
    Access access;
  };
  const int64_t cycles_;
  Ring<Entry, 256> tags_;
};

// The write half (rtl/hbm_writes.py), with what it reads first (rtl/hbm_merge.py).
class ChannelWrites {
 public:
  Burst burst;
  bool bvalid = false;
  bool ready = false, wready = false, fetches = false, offers = false;

  explicit ChannelWrites(const Hbm& hbm) : hbm_(hbm), making_(hbm.cwl - 1) {}

  // Whether nothing happens but that an access is made in cycle `next()`, unless a beat comes.
  bool rests() const {
    const bool waits = order_.empty() || !done_[head_];
    return waits && !bvalid && !second_ && !busy_;
  }
  int64_t next() const { return making_.next(); }

  // In this cycle nothing happens but that a burst may be taken.
  void pause() {
    wready = offers = fetches = taken_ = going_ = starts_ = commits_ = false;
    ready = !burst.active;
  }

  // Before it is known what the other half does: `wvalid`: a beat is offered, bytes `from` to
  // `to` of it are written; `room`: an access is taken.
  void evaluate(int64_t now, bool wvalid, int64_t from, int64_t to, bool room) {
    half_ = burst.half() || earlier_;
    ends_ = !burst.both() || earlier_;
    const bool open = burst.active && order_.size() != hbm_.slots && !busy_;
    partial_now_ = partial(from, to) || (partial_ && earlier_);
    const bool whole = !hbm_.ecc || !partial_now_;
    wready = open && (!ends_ || room || !whole);
    taken_ = wvalid && wready;
    offers = (open && wvalid && ends_ && whole) || over_;
    going_ = (taken_ && ends_ && whole) || (over_ && room);
    starts_ = taken_ && ends_ && !whole;
    ready = !burst.active || (going_ && burst.last());
    fetches = busy_ && order_.empty() && !asked_;
    commits_ = making_.here(now);
  }
  bool enters(bool room) const { return offers && room; }

  int16_t next_slot() const { return int16_t(tail_); }

  // `made`: the scheduler writes that one; a burst is taken behind this step.
  void step(int64_t now, const Access* made, bool bready, bool fetch_taken, bool fetched) {
    answer(bready);
    if (second_) done_[second_slot_] = true;
    second_ = commits_;
    if (commits_) second_slot_ = making_.tag().slot, making_.pop();
    if (taken_) earlier_ = !ends_, partial_ = partial_now_;
    if (going_) {
      order_.push(burst.last());
      done_[tail_] = false;
      tail_ = (tail_ + 1) & (hbm_.slots - 1);
    }
    if (made) making_.push(now, *made);
    merge(fetch_taken, fetched);
    if (going_) burst.step();
  }

 private:
  // Whether a word is not written as a whole.
  bool partial(int64_t from, int64_t to) const {
    const int64_t word = hbm_.word_bytes - 1;
    return from < to && ((from & word) || (to & word));
  }

  void answer(bool bready) {
    const bool free = !bvalid || bready;
    const bool here = !order_.empty() && done_[head_];
    const bool last = here && order_.front();
    if (free) bvalid = here && last;
    if (!here || (last && !free)) return;
    order_.pop();
    head_ = (head_ + 1) & (hbm_.slots - 1);
  }

  void merge(bool fetch_taken, bool fetched) {
    const bool over = over_;
    if (starts_) busy_ = true;
    if (fetch_taken) asked_ = true;
    if (fetched) over_ = late_, late_ = !late_;
    if (over && going_) busy_ = asked_ = over_ = false;
  }

  const Hbm& hbm_;
  Pipe making_;
  Ring<bool, 128> order_;
  bool done_[128] = {};
  int64_t tail_ = 0, head_ = 0, second_slot_ = 0;
  bool half_ = false, ends_ = false, earlier_ = false, partial_ = false, partial_now_ = false;
  bool taken_ = false, going_ = false, starts_ = false, commits_ = false, second_ = false;
  bool busy_ = false, asked_ = false, over_ = false, late_ = false;
};

}  // namespace cycle
