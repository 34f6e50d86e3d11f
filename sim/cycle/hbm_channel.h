// One pseudo-channel's controller (rtl/hbm_controller.py): bursts become accesses and come back.

#pragma once

#include "hbm_scheduler.h"
#include "hbm_types.h"

namespace cycle {

// A burst, column by column (rtl/hbm_burst.py).
struct Burst {
  bool active = false;
  int64_t beat = 0, left = 0;

  bool half() const { return beat & 1; }
  bool both() const { return !half() && left != 1; }
  int64_t count() const { return both() ? 2 : 1; }
  bool last() const { return left == count(); }

  void step(bool next, bool taken, int64_t first_beat, int64_t beats) {
    if (taken) {
      active = true, beat = first_beat, left = beats;
    } else if (next) {
      const int64_t by = count();
      active = left != by;
      beat += by, left -= by;
    }
  }
};

// What is kept of a column until it leaves.
struct Column {
  bool half, both, last;
};

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

// The read half (rtl/hbm_reads.py).
class ChannelReads {
 public:
  Burst burst;
  bool rvalid = false, rlast = false;  // on offer
  bool fetched = false;                // a beat for the write half comes

  explicit ChannelReads(const Hbm& hbm) : hbm_(hbm), landing_(hbm.cl + 1) {}

  // Whether nothing happens but that an access lands in cycle `next()`.
  bool rests() const {
    const bool waits = order_.empty() || !done_[head_];
    return !burst.active && waits && !rvalid && !second_ && !other_fetched_;
  }
  int64_t next() const { return landing_.next(); }

  // Nothing is under way: in this cycle nothing happens but that a burst may be taken.
  void pause() {
    going = lands_ = fetched = false;
    ready = true;
  }

  // `room`: an access is taken; `fetch`: the write half's goes first.
  void evaluate(int64_t now, bool room, bool fetch) {
    going = burst.active && order_.size() != hbm_.slots && room && !fetch;
    ready = !burst.active || (going && burst.last());
    lands_ = landing_.here(now);
    fetched = (lands_ && landing_.tag().fetch) || other_fetched_;
  }
  bool going = false, ready = false;  // a column is asked for; a burst is taken

  Access access() const {
    Access found = Access::at(hbm_, burst.beat * hbm_.beat_bytes);
    found.slot = int32_t(tail_);
    return found;
  }

  void step(int64_t now, bool made, const Access& made_access, bool taken, int64_t first_beat,
            int64_t beats, bool rready) {
    leave(rready);
    second_ = other_fetched_ = false;
    if (lands_) {
      const Access tag = landing_.tag();
      landing_.pop();
      if (tag.fetch) other_fetched_ = true;
      else second_ = true, second_slot_ = tag.slot, set_done(tag.slot, true);
    }
    if (going) {
      order_.push({burst.half(), burst.both(), burst.last()});
      set_done(tail_, false);
      tail_ = (tail_ + 1) & (hbm_.slots - 1);
    }
    if (made) landing_.push(now, made_access);
    burst.step(going, taken, first_beat, beats);
  }

 private:
  void leave(bool rready) {
    const bool free = !rvalid || rready;
    if (!free) return;
    rvalid = false;
    if (order_.empty() || !done_[head_]) return;
    const Column& column = order_.front();
    const bool half = column.half || other_;
    if (half && second_ && second_slot_ == head_) return;
    const bool ends = !column.both || other_;
    rvalid = true;
    rlast = column.last && ends;
    other_ = !ends;
    if (!ends) return;
    order_.pop();
    head_ = (head_ + 1) & (hbm_.slots - 1);
  }
  void set_done(int64_t slot, bool value) { done_[slot] = value; }

  const Hbm& hbm_;
  Pipe landing_;
  Ring<Column, 128> order_;
  bool done_[128] = {};
  int64_t tail_ = 0, head_ = 0, second_slot_ = 0;
  bool second_ = false, other_ = false, lands_ = false, other_fetched_ = false;
};

// The write half (rtl/hbm_writes.py), with what it reads first (rtl/hbm_merge.py).
class ChannelWrites {
 public:
  Burst burst;
  bool bvalid = false;
  bool ready = false, wready = false, fetches = false, offers = false;

  explicit ChannelWrites(const Hbm& hbm) : hbm_(hbm), making_(hbm.cwl - 1) {}

  // Whether nothing happens but that an access is made in cycle `next()`.
  bool rests() const {
    const bool waits = order_.empty() || !done_[head_];
    return !burst.active && waits && !bvalid && !second_ && !busy_;
  }
  int64_t next() const { return making_.next(); }

  // Nothing is under way: in this cycle nothing happens but that a burst may be taken.
  void pause() {
    wready = offers = fetches = taken_ = going_ = starts_ = commits_ = false;
    ready = true;
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

  Access access() const {
    Access found = Access::at(hbm_, burst.beat * hbm_.beat_bytes);
    found.slot = int32_t(tail_);
    return found;
  }
  Access fetch_access() const {
    Access found = access();
    found.fetch = true;
    return found;
  }

  void step(int64_t now, bool made, const Access& made_access, bool taken, int64_t first_beat,
            int64_t beats, bool bready, bool fetch_taken, bool fetched) {
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
    if (made) making_.push(now, made_access);
    merge(fetch_taken, fetched);
    burst.step(going_, taken, first_beat, beats);
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

// Both, and the scheduler between them and the device.
class Channel {
 public:
  ChannelReads reads;
  ChannelWrites writes;

  explicit Channel(const Hbm& hbm) : reads(hbm), writes(hbm), scheduler_(hbm) {}

  void evaluate(int64_t now, bool wvalid, int64_t from, int64_t to) {
    write_room_ = scheduler_.write_room();
    writes_work_ = wvalid || !writes.rests() || writes.next() != kNever;
    if (writes_work_) writes.evaluate(now, wvalid, from, to, write_room_);
    else writes.pause();
    read_room_ = scheduler_.read_room() && !writes.offers;
    reads_work_ = !reads.rests() || reads.next() != kNever;
    if (reads_work_) reads.evaluate(now, read_room_, writes.fetches);
    else reads.pause();
    decides_ = now >= decided_until_;
    if (decides_) decide(now);
  }

  // How many cycles behind `now` nothing can happen unless a burst comes; 0 if something may.
  int64_t rest(int64_t now) const {
    if (!reads.rests() || !writes.rests()) return 0;
    return std::min({reads.next(), writes.next(), decided_until_}) - now - 1;
  }

  struct Asked {
    bool taken = false;
    int64_t beat = 0, beats = 0;
  };

  void step(int64_t now, const Asked& read, const Asked& write, bool rready, bool bready,
            HbmCounts& counts) {
    const bool fetch_taken = writes.fetches && read_room_, enters = writes.enters(write_room_);
    const Access of_read = fetch_taken ? writes.fetch_access()
                           : reads.going ? reads.access() : Access{};
    const Access of_write = enters ? writes.access() : Access{};
    const bool reads_enter = fetch_taken || reads.going;
    if (!decides_ && (reads_enter || enters)) decide(now), decides_ = true;
    const bool read_made = decides_ && scheduler_.read_made;
    const bool write_made = decides_ && scheduler_.write_made;
    const Access made = scheduler_.made;
    if (decides_) {
      scheduler_.step(reads_enter, of_read, enters, of_write, counts);
      decided_until_ = since_ = now + 1;
      if (scheduler_.rests())
        decided_until_ += std::min(scheduler_.next(now) - now - 1, scheduler_.left_to_rest());
    }
    if (writes_work_ || write.taken || write_made)
      writes.step(now, write_made, made, write.taken, write.beat, write.beats, bready, fetch_taken,
                  reads.fetched);
    if (reads_work_ || read.taken || read_made)
      reads.step(now, read_made, made, read.taken, read.beat, read.beats, rready);
  }

 private:
  // The scheduler is left alone where it has nothing to decide; what grows old meanwhile is made up.
  void decide(int64_t now) {
    if (now > since_) scheduler_.rest(now - since_);
    scheduler_.decide(now);
  }

  Scheduler scheduler_;
  int64_t since_ = 0, decided_until_ = 0;  // its state is of that cycle; nothing before that one
  bool read_room_ = false, write_room_ = false;
  bool reads_work_ = false, writes_work_ = false, decides_ = false;  // in this cycle
};

}  // namespace cycle
