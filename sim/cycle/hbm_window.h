// The column accesses that wait (rtl/hbm_window.py): bit i of a set is the i-th oldest.

#pragma once

#include <cstring>

#include "hbm_guard.h"
#include "hbm_types.h"

namespace cycle {

class Window {
 public:
  int level = 0;
  bool old = false;
  BankSet used = 0;                        // banks that accesses wait for
  int column = -1, act = -1, pre = -1;     // the oldest of each kind, -1 if there is none

  explicit Window(const Hbm& hbm) : depth_(int(hbm.depth)), patience_(hbm.patience) {}

  // Cycles in which nothing comes or goes, and how many there may be before an access is old.
  int64_t left_to_age() const { return level && !old ? patience_ - age_ : kNever; }
  void rest(int64_t cycles) {
    if (!level || old) return;
    age_ += cycles;
    old = age_ == patience_;
  }

  bool room() const { return level != depth_; }
  const Access& operator[](int i) const { return accesses_[i]; }

  void pick(BankSet can_column, BankSet can_act, BankSet can_pre) {
    column = act = pre = -1;
    if (!level) return;
    const uint64_t valid = level == 64 ? ~0ull : (1ull << level) - 1;
    const uint64_t beside = old ? of_bank_[accesses_[0].bank] : 0, first = ~beside | 1;
    const uint64_t ready = valid & hit_ & first, missing = valid & ~hit_ & first;
    BankSet kept = 0;
    uint64_t columns = 0, acts = 0, pres = 0;
    for (BankSet left = used; left; left &= left - 1) {
      const int b = __builtin_ctz(left);
      const uint64_t mine = of_bank_[b];
      const bool keeps = mine & ready;
      kept |= BankSet(keeps) << b;
      columns |= can_column >> b & 1 ? mine : 0;
      acts |= can_act >> b & 1 ? mine : 0;
      pres |= (can_pre >> b & 1 && !keeps) ? mine : 0;
    }
    column = lowest(ready & columns);
    act = lowest(missing & acts);
    pre = lowest(missing & pres);
  }

  // `taken`: the place of the access that leaves, or -1; `entering`: whether one comes.
  void step(int taken, bool entering, const Access& access, bool is_open,
            const RowCommand& command) {
    if (level == 0 && !entering) {
      age_ = 0, old = false;
      return;
    }
    const BankSet closed = command.pre_all ? kAllBanks : command.pre ? 1u << command.bank : 0;
    if (level == 0 || taken == 0) age_ = 0;
    else if (!old) ++age_;
    old = age_ == patience_;
    change_hits(command, closed);
    if (taken >= 0) remove(taken);
    if (!entering) return;
    const bool mine = command.act && access.bank == command.bank;
    const bool hits = mine ? access.row == command.row : is_open && !(closed >> access.bank & 1);
    accesses_[level] = access;
    hit_ |= uint64_t(hits) << level;
    of_bank_[access.bank] |= 1ull << level++;
    used |= 1u << access.bank;
  }

 private:
  static int lowest(uint64_t set) { return set ? __builtin_ctzll(set) : -1; }

  void change_hits(const RowCommand& command, BankSet closed) {
    if (command.act) {
      for (uint64_t left = of_bank_[command.bank]; left; left &= left - 1) {
        const int i = __builtin_ctzll(left);
        const uint64_t bit = 1ull << i;
        hit_ = accesses_[i].row == command.row ? hit_ | bit : hit_ & ~bit;
      }
    }
    for (BankSet left = closed; left; left &= left - 1) hit_ &= ~of_bank_[__builtin_ctz(left)];
  }

  void remove(int place) {
    const uint64_t stay = (1ull << place) - 1;
    const auto moved = [stay](uint64_t set) { return (set & stay) | (set >> 1 & ~stay); };
    const int bank = accesses_[place].bank;
    of_bank_[bank] &= ~(1ull << place);
    if (!of_bank_[bank]) used &= ~(1u << bank);
    hit_ &= ~(1ull << place);
    for (BankSet left = used; left; left &= left - 1) {
      uint64_t& set = of_bank_[__builtin_ctz(left)];
      set = moved(set);
    }
    hit_ = moved(hit_);
    std::memmove(accesses_ + place, accesses_ + place + 1, (--level - place) * sizeof(Access));
  }

  const int depth_;
  const int64_t patience_;
  Access accesses_[64];
  uint64_t of_bank_[kBanks] = {}, hit_ = 0;
  int64_t age_ = 0;
};

}  // namespace cycle
