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

class Guard16 {
 public:
  BankSet open = 0;

  explicit Guard16(const Hbm& hbm) : t_(hbm) { std::fill_n(acts_, 4, kLongAgo); }

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
    for (BankSet left = banks; left; left &= left - 1) {
      const int b = __builtin_ctz(left);
      may_act_ |= BankSet(time >= act_[b]) << b, may_pre_ |= BankSet(time >= pre_[b]) << b;
      read |= BankSet(time >= read_[b]) << b, write |= BankSet(time >= write_[b]) << b;
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
      for (const Times* times : {&act_, &pre_, &read_, &write_}) later(based_ + (*times)[b]);
    }
    return found;
  }

  void take(const RowCommand& command) {
    const int bank = command.bank;
    if (command.act) {
      open |= 1u << bank;
      rows_[bank] = command.row;
      wait(act_, all(), std::max(t_.rrd_s, t_.act_cycles));
      wait(act_, group(bank), t_.rrd_l);
      wait(act_, one(bank), t_.rc);
      wait(pre_, one(bank), t_.ras);
      wait(read_, one(bank), t_.rcd_rd);
      wait(write_, one(bank), t_.rcd_wr);
      acts_[count_++ % 4] = now_;
    } else if (command.pre) {
      open &= ~(1u << bank);
      wait(act_, one(bank), t_.rp);
    } else if (command.pre_all) {
      open = 0;
      wait(act_, all(), t_.rp);
    } else if (command.ref_bank) {
      wait(act_, all(), t_.rrefd);
      wait(act_, one(bank), t_.rfc_pb);
    } else if (command.ref_all) {
      wait(act_, all(), t_.rfc_ab);
    }
  }

  void read(int bank) {
    wait(pre_, one(bank), t_.rtp);
    wait(read_, all(), t_.ccd_s);
    wait(read_, group(bank), t_.ccd_l);
    wait(write_, all(), t_.rtw);
  }

  void write(int bank) {
    const int64_t written = t_.cwl + t_.burst_cycles;
    wait(pre_, one(bank), written + t_.wr);
    wait(write_, all(), t_.ccd_s);
    wait(write_, group(bank), t_.ccd_l);
    wait(read_, all(), written + t_.wtr_s);
    wait(read_, group(bank), written + t_.wtr_l);
  }

 private:
  static constexpr int64_t kLongAgo = -(int64_t{1} << 40), kRange = 1 << 30;
  using Times = int32_t[kBanks];  // since `based_`
  struct Range {
    int first, end;
  };

  static Range all() { return {0, kBanks}; }
  static Range one(int bank) { return {bank, bank + 1}; }
  Range group(int bank) const {
    const int size = int(t_.banks_per_group), first = bank / size * size;
    return {first, first + size};
  }
  void wait(Times& until, Range banks, int64_t cycles) const {
    const int32_t time = int32_t(now_ - based_ + cycles);
    for (int b = banks.first; b < banks.end; ++b) until[b] = std::max(until[b], time);
  }
  // Times stay small: all that is over is forgotten.
  void rebase() {
    const int64_t by = now_ - based_;
    for (Times* times : {&act_, &pre_, &read_, &write_})
      for (int32_t& until : *times) until = int32_t(std::max<int64_t>(until - by, 0));
    based_ = now_;
  }

  const Hbm& t_;
  Times act_ = {}, pre_ = {}, read_ = {}, write_ = {};
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
