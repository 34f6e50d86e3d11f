// Which commands a pseudo-channel may be given now (rtl/hbm_guard.py).

#pragma once

#include <algorithm>

#include "hbm_types.h"

namespace cycle {

// Row commands of a cycle; none if all are 0.
struct RowCommand {
  bool act = false, pre = false, pre_all = false, ref_all = false, ref_bank = false;
  uint8_t bank = 0;
  int32_t row = 0;

  bool any() const { return act || pre || pre_all || ref_all || ref_bank; }
};

// Until when one kind of command may not be given: to any bank, to a group's, to one.
class Until {
 public:
  explicit Until(const Hbm& hbm)
      : shift_(int(ceil_log2(hbm.banks_per_group))),
        group_banks_((BankSet{1} << hbm.banks_per_group) - 1) {}

  int32_t all() const { return all_; }
  int32_t of(int bank) const { return std::max(all_, behind_all(bank)); }
  int32_t behind_all(int bank) const { return std::max(groups_[bank >> shift_], banks_[bank]); }
  // Banks that none of them holds up any more.
  BankSet over(int32_t time) const {
    if (time < all_) return 0;
    BankSet found = 0, groups = 0;
    for (int b = 0; b < kBanks; ++b) found |= time >= banks_[b] ? 1u << b : 0;
    for (int g = 0; g < kBanks >> shift_; ++g)
      groups |= (time >= groups_[g] ? group_banks_ : 0) << (g << shift_);
    return found & groups;
  }
  // The first time behind `now` that one of these banks waits for; none waits for less than `least`.
  int32_t next(int32_t now, BankSet banks, int32_t least) const {
    int32_t found = INT32_MAX;
    for (BankSet left = banks; left; left &= left - 1) {
      const int32_t time = std::max(of(__builtin_ctz(left)), least);
      if (time > now) found = std::min(found, time);
    }
    return found;
  }
  void wait_all(int32_t time) { all_ = std::max(all_, time); }
  void wait_group(int bank, int32_t time) { raise(groups_[bank >> shift_], time); }
  void wait(int bank, int32_t time) { raise(banks_[bank], time); }
  // Times become smaller by so much: what is over is forgotten.
  void rebase(int64_t by) {
    const auto less = [by](int32_t& time) { time = int32_t(std::max<int64_t>(time - by, 0)); };
    less(all_);
    for (int b = 0; b < kBanks; ++b) less(groups_[b]), less(banks_[b]);
  }

 private:
  static void raise(int32_t& until, int32_t time) { until = std::max(until, time); }
  const int shift_;
  const BankSet group_banks_;
  int32_t all_ = 0, groups_[kBanks] = {}, banks_[kBanks] = {};
};

class Guard16 {
 public:
  BankSet open = 0;

  explicit Guard16(const Hbm& hbm) : t_(hbm), act_(hbm), pre_(hbm), read_(hbm), write_(hbm) {
    std::fill_n(acts_, 4, kLongAgo);
  }

  bool is_open(const Access& access) const {
    return open >> access.bank & 1 && rows_[access.bank] == access.row;
  }

  // What follows is of cycle `now`.
  void look(int64_t now) {
    now_ = now;
    if (now - based_ > kRange) rebase();
  }
  BankSet can_column(bool write) const { return (write ? write_ : read_).over(at(0)) & open; }
  BankSet can_act() const { return four() ? act_.over(at(0)) & ~open : 0; }
  BankSet can_pre() const { return bus() ? pre_.over(at(0)) & open : 0; }
  bool can_pre_all() const {
    return bus() && ((pre_.over(at(0)) | ~open) & kAllBanks) == kAllBanks;
  }
  bool can_ref_all() const { return (act_.over(at(0)) & ~open & kAllBanks) == kAllBanks; }
  bool can_ref_bank(int bank) const { return act_.over(at(0)) & ~open & 1u << bank; }

  // Of accesses that are row hits the oldest whose column may be read or written, or -1.
  template <class Accesses>
  int first_column(const Accesses& accesses, bool write) const {
    const Until& until = write ? write_ : read_;
    const int32_t now = at(0);
    if (now < until.all()) return -1;
    for (int age = 0; age < accesses.level; ++age)
      if (now >= until.behind_all(accesses[age].bank)) return age;
    return -1;
  }

  // When a column of one of these banks may be read, or written, that may not be now.
  int64_t next_column(BankSet banks, bool write) const {
    return cycle((write ? write_ : read_).next(at(0), banks & open, 0));
  }
  // The same of row commands.
  int64_t next_row(BankSet banks) const {
    const int64_t four = acts_[count_ % 4] + t_.faw, bus = acts_[(count_ + 3) % 4] + t_.act_cycles;
    return cycle(std::min(act_.next(at(0), banks & ~open, time(four)),
                          pre_.next(at(0), banks & open, time(bus))));
  }
  // Before that cycle nothing is done for an access that comes.
  int64_t next_of(const Access& access, bool hits, bool write) const {
    const int b = access.bank;
    if (hits) return based_ + (write ? write_ : read_).of(b);
    return based_ + (open >> b & 1 ? pre_ : act_).of(b);
  }

  void take(const RowCommand& command) {
    const int bank = command.bank;
    if (command.act) {
      open |= 1u << bank;
      rows_[bank] = command.row;
      act_.wait_all(at(std::max(t_.rrd_s, t_.act_cycles)));
      act_.wait_group(bank, at(t_.rrd_l));
      act_.wait(bank, at(t_.rc));
      pre_.wait(bank, at(t_.ras));
      read_.wait(bank, at(t_.rcd_rd));
      write_.wait(bank, at(t_.rcd_wr));
      acts_[count_++ % 4] = now_;
    } else if (command.pre) {
      open &= ~(1u << bank);
      act_.wait(bank, at(t_.rp));
    } else if (command.pre_all) {
      open = 0;
      act_.wait_all(at(t_.rp));
    } else if (command.ref_bank) {
      act_.wait_all(at(t_.rrefd));
      act_.wait(bank, at(t_.rfc_pb));
    } else if (command.ref_all) {
      act_.wait_all(at(t_.rfc_ab));
    }
  }

  void column(int bank, bool write) {
    if (write) return this->write(bank);
    pre_.wait(bank, at(t_.rtp));
    read_.wait_all(at(t_.ccd_s));
    read_.wait_group(bank, at(t_.ccd_l));
    write_.wait_all(at(t_.rtw));
  }

 private:
  static constexpr int64_t kLongAgo = -(int64_t{1} << 40), kRange = 1 << 30;

  void write(int bank) {
    const int64_t written = t_.cwl + t_.burst_cycles;
    pre_.wait(bank, at(written + t_.wr));
    write_.wait_all(at(t_.ccd_s));
    write_.wait_group(bank, at(t_.ccd_l));
    read_.wait_all(at(written + t_.wtr_s));
    read_.wait_group(bank, at(written + t_.wtr_l));
  }

  bool four() const { return now_ - acts_[count_ % 4] >= t_.faw; }
  bool bus() const { return now_ - acts_[(count_ + 3) % 4] >= t_.act_cycles; }
  // Times are cycles since `based_`.
  int32_t time(int64_t cycle) const { return int32_t(std::max<int64_t>(cycle - based_, 0)); }
  int64_t cycle(int32_t time) const { return time == INT32_MAX ? kNever : based_ + time; }
  // In so many cycles.
  int32_t at(int64_t cycles) const { return int32_t(now_ - based_ + cycles); }
  // Times stay small.
  void rebase() {
    for (Until* until : {&act_, &pre_, &read_, &write_}) until->rebase(now_ - based_);
    based_ = now_;
  }

  const Hbm& t_;
  Until act_, pre_, read_, write_;
  int64_t acts_[4], now_ = 0, based_ = 0;
  int32_t rows_[kBanks] = {};
  uint32_t count_ = 0;
};

}  // namespace cycle
