// The column accesses that wait (rtl/hbm_window.py), oldest first in a ring: bit i of a set is the
// access at place i of the ring.

#pragma once

#include "hbm_guard.h"
#include "hbm_types.h"

namespace cycle {

class Window {
 public:
  int level = 0;
  BankSet used = 0;  // banks that accesses wait for
  int column = -1, act = -1, pre = -1;  // how old the oldest of each kind is, -1: there is none

  explicit Window(const Hbm& hbm) : depth_(int(hbm.depth)), patience_(hbm.patience) {}

  bool room() const { return level != depth_; }
  bool some_hit() const { return hits_; }
  bool some_miss() const { return misses_; }
  const Access& operator[](int age) const { return accesses_[(head_ + age) % kPlaces]; }

  // Whether the oldest has waited too long, in cycle `now`; from when on it has.
  bool old(int64_t now) const { return level && now > since_ + patience_; }
  int64_t next_old() const { return level ? since_ + patience_ + 1 : kNever; }

  void pick_column(BankSet can, int64_t now) {
    column = -1;
    const uint64_t ready = hits_ & first(now);
    if (ready) column = oldest(ready & of(can & used));
  }
  void pick_row(BankSet can_act, BankSet can_pre, int64_t now) {
    act = pre = -1;
    const uint64_t among = first(now), missing = misses_ & among, ready = hits_ & among;
    if (!missing) return;
    act = oldest(missing & of(can_act & used));
    uint64_t pres = 0;
    for (BankSet left = can_pre & used; left; left &= left - 1) {
      const uint64_t mine = of_bank_[__builtin_ctz(left)];
      if (!(mine & ready)) pres |= mine;
    }
    pre = oldest(missing & pres);
  }

  void open(int bank, int32_t row) {
    for (uint64_t left = of_bank_[bank]; left; left &= left - 1) {
      const int i = __builtin_ctzll(left);
      const uint64_t bit = 1ull << i;
      if (accesses_[i].row == row) hits_ |= bit, misses_ &= ~bit;
      else hits_ &= ~bit, misses_ |= bit;
    }
  }
  void close(BankSet banks) {
    const uint64_t closed = of(banks & used);
    hits_ &= ~closed, misses_ |= closed;
  }

  void enter(int64_t now, const Access& access, bool hits) {
    const int place = (head_ + level) % kPlaces;
    if (level++ == 0) since_ = now;
    const uint64_t bit = 1ull << place;
    accesses_[place] = access;
    (hits ? hits_ : misses_) |= bit;
    of_bank_[access.bank] |= bit;
    used |= 1u << access.bank;
  }

  // Those that are older move up, mostly few.
  void remove(int64_t now, int age) {
    const int place = (head_ + age) % kPlaces, bank = accesses_[place].bank;
    const uint64_t bit = 1ull << place;
    hits_ &= ~bit, misses_ &= ~bit;
    if (!(of_bank_[bank] &= ~bit)) used &= ~(1u << bank);
    if (age == 0) since_ = now;
    else move_up(age);
    head_ = (head_ + 1) % kPlaces;
    --level;
  }

 private:
  static constexpr int kPlaces = 64;

  static uint64_t right(uint64_t set, int by) { return set >> by | set << (-by & 63); }
  static uint64_t left(uint64_t set, int by) { return set << by | set >> (-by & 63); }

  int oldest(uint64_t set) const { return set ? __builtin_ctzll(right(set, head_)) : -1; }
  uint64_t of(BankSet banks) const {
    uint64_t found = 0;
    for (; banks; banks &= banks - 1) found |= of_bank_[__builtin_ctz(banks)];
    return found;
  }
  // Where the oldest has waited too long, no other of its bank is served.
  uint64_t first(int64_t now) const {
    return old(now) ? ~of_bank_[accesses_[head_].bank] | 1ull << head_ : ~0ull;
  }

  void move_up(int age) {
    const uint64_t older = left((1ull << age) - 1, head_);
    const auto move = [older](uint64_t& set) {
      if (set & older) set = (set & ~older) | left(set & older, 1);
    };
    move(hits_), move(misses_);
    for (BankSet rest = used; rest; rest &= rest - 1) move(of_bank_[__builtin_ctz(rest)]);
    for (int i = age; i > 0; --i)
      accesses_[(head_ + i) % kPlaces] = accesses_[(head_ + i - 1) % kPlaces];
  }

  const int depth_;
  const int64_t patience_;
  uint64_t hits_ = 0, misses_ = 0, of_bank_[kBanks] = {};
  int64_t since_ = 0;  // when the oldest became that
  int head_ = 0;
  Access accesses_[kPlaces];
};

}  // namespace cycle
