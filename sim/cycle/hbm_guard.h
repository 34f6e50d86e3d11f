// Which commands a pseudo-channel may be given now (rtl/hbm_guard.py), and its refreshes
// (rtl/hbm_refresh.py).

#pragma once

#include <algorithm>

#include "hbm_types.h"

namespace cycle {

// Row commands of a cycle; none if all are 0.
struct RowCommand {
  bool act = false, pre = false, pre_all = false, ref_all = false, ref_bank = false;
  int bank = 0;
  int32_t row = 0;

  bool any() const { return act || pre || pre_all || ref_all || ref_bank; }
};

// Until when one kind of command may not be given: to any bank, to a group's, to one.
class Until {
 public:
  explicit Until(int group_shift) : shift_(group_shift) {}

  int32_t all() const { return all_; }
  int32_t of(int bank) const { return std::max({all_, groups_[bank >> shift_], banks_[bank]}); }
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
  int32_t all_ = 0, groups_[kBanks] = {}, banks_[kBanks] = {};
};

class Guard16 {
 public:
  BankSet open = 0;

  explicit Guard16(const Hbm& hbm)
      : t_(hbm), act_(shift(hbm)), pre_(shift(hbm)), read_(shift(hbm)), write_(shift(hbm)) {
    std::fill_n(acts_, 4, kLongAgo);
  }

  bool is_open(const Access& access) const {
    return open >> access.bank & 1 && rows_[access.bank] == access.row;
  }

  // What may be decided in cycle `now`, of these banks.
  void look(int64_t now, BankSet banks) {
    now_ = now;
    if (now - based_ > kRange) rebase();
    BankSet read = 0, write = 0;
    may_act_ = may_pre_ = 0;
    const int32_t time = int32_t(now - based_);
    const bool reads = time >= read_.all(), writes = time >= write_.all();
    for (BankSet left = banks; left; left &= left - 1) {
      const int b = __builtin_ctz(left);
      may_act_ |= BankSet(time >= act_.of(b)) << b, may_pre_ |= BankSet(time >= pre_.of(b)) << b;
      if (reads) read |= BankSet(time >= read_.of(b)) << b;
      if (writes) write |= BankSet(time >= write_.of(b)) << b;
    }
    can_read = read & open;
    can_write = write & open;
    const bool four = now - acts_[count_ % 4] >= t_.faw;
    bus_ = now - acts_[(count_ + 3) % 4] >= t_.act_cycles;
    can_act = four ? may_act_ & ~open : 0;
    can_pre = bus_ ? may_pre_ & open : 0;
  }
  BankSet can_act = 0, can_pre = 0, can_read = 0, can_write = 0;
  bool can_pre_all() const { return bus_ && ((may_pre_ | ~open) & kAllBanks) == kAllBanks; }
  bool can_ref_all() const { return (may_act_ & ~open & kAllBanks) == kAllBanks; }
  bool can_ref_bank(int bank) const { return may_act_ & ~open & 1u << bank; }

  // The first cycle behind `now` in which something more may be decided of these banks.
  int64_t next(int64_t now, BankSet banks) const {
    int64_t found = kNever;
    const auto later = [&found, now](int64_t time) { if (time > now && time < found) found = time; };
    later(acts_[count_ % 4] + t_.faw);
    later(acts_[(count_ + 3) % 4] + t_.act_cycles);
    for (BankSet left = banks; left; left &= left - 1) {
      const int b = __builtin_ctz(left);
      for (const Until* until : {&act_, &pre_, &read_, &write_}) later(based_ + until->of(b));
    }
    return found;
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

  void read(int bank) {
    pre_.wait(bank, at(t_.rtp));
    read_.wait_all(at(t_.ccd_s));
    read_.wait_group(bank, at(t_.ccd_l));
    write_.wait_all(at(t_.rtw));
  }

  void write(int bank) {
    const int64_t written = t_.cwl + t_.burst_cycles;
    pre_.wait(bank, at(written + t_.wr));
    write_.wait_all(at(t_.ccd_s));
    write_.wait_group(bank, at(t_.ccd_l));
    read_.wait_all(at(written + t_.wtr_s));
    read_.wait_group(bank, at(written + t_.wtr_l));
  }

 private:
  static constexpr int64_t kLongAgo = -(int64_t{1} << 40), kRange = 1 << 30;

  static int shift(const Hbm& hbm) { return ceil_log2(hbm.banks_per_group); }
  // In so many cycles, since `based_`.
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
  BankSet may_act_ = 0, may_pre_ = 0;
  bool bus_ = false;
};

// Counts the refreshes that are due, and asks for them.
class Refresh {
 public:
  BankSet hold = 0;  // banks in which no access may begin

  explicit Refresh(const Hbm& hbm)
      : hbm_(hbm), interval_(hbm.refi / (hbm.per_bank ? kBanks : 1)),
        limit_(hbm.postpone * (hbm.per_bank ? kBanks : 1)) {}

  // The command that it wants in this cycle; whether there is one.
  bool wants(const Guard16& guard, RowCommand& command) {
    hold = !working_ ? 0 : hbm_.per_bank ? 1u << bank_ : kAllBanks;
    command.bank = bank_;
    if (!working_) return false;
    if (hbm_.per_bank) {
      const bool is_open = guard.open >> bank_ & 1;
      command.pre = is_open && guard.can_pre >> bank_ & 1;
      command.ref_bank = guard.can_ref_bank(bank_);
    } else {
      command.pre_all = guard.open && guard.can_pre_all();
      command.ref_all = guard.can_ref_all();
    }
    return command.pre || command.pre_all || command.ref_all || command.ref_bank;
  }

  // Cycles in which nothing can happen, while nothing is due and no access waits.
  bool works() const { return working_; }
  bool rests() const { return !due_ && !working_; }
  int64_t left_to_rest() const { return interval_ - 1 - timer_; }
  void rest(int64_t cycles, bool idle) {
    timer_ += cycles;
    if (idle) quiet_ = std::min(quiet_ + cycles, hbm_.refresh_idle_cycles);
  }

  // `idle`: no access waits.
  void step(const RowCommand& command, bool idle) {
    const bool made = command.ref_all || command.ref_bank;
    const bool wanted = due_ > limit_ || (due_ && quiet_ == hbm_.refresh_idle_cycles);
    const bool tick = timer_ == interval_ - 1;
    timer_ = tick ? 0 : timer_ + 1;
    due_ += tick - made;
    if (!idle) quiet_ = 0;
    else if (quiet_ != hbm_.refresh_idle_cycles) ++quiet_;
    working_ = !made && (working_ || wanted);
    if (made && hbm_.per_bank) bank_ = (bank_ + 1) % kBanks;
  }

 private:
  const Hbm& hbm_;
  const int64_t interval_, limit_;
  int64_t timer_ = 0, due_ = 0, quiet_ = 0;
  int bank_ = 0;
  bool working_ = false;
};

}  // namespace cycle
