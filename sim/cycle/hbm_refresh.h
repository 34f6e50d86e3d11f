// A pseudo-channel's refreshes (rtl/hbm_refresh.py): how many are due, and when one is made.

#pragma once

#include <algorithm>

#include "hbm_guard.h"
#include "hbm_types.h"

namespace cycle {

class Refresh {
 public:
  BankSet hold = 0;      // banks in which no access may begin
  bool changed = false;  // by the last step

  explicit Refresh(const Hbm& hbm)
      : hbm_(hbm), interval_(hbm.refi / (hbm.per_bank ? kBanks : 1)),
        limit_(hbm.postpone * (hbm.per_bank ? kBanks : 1)), tick_(interval_ - 1) {}

  bool works() const { return working_; }
  bool due() const { return due_; }

  // The command that it wants in this cycle; whether there is one.
  bool wants(const Guard16& guard, RowCommand& command) {
    hold = !working_ ? 0 : hbm_.per_bank ? 1u << bank_ : kAllBanks;
    command.bank = uint8_t(bank_);
    if (!working_) return false;
    if (hbm_.per_bank) {
      command.pre = guard.can_pre() >> bank_ & 1;
      command.ref_bank = guard.can_ref_bank(bank_);
    } else {
      command.pre_all = guard.open && guard.can_pre_all();
      command.ref_all = guard.can_ref_all();
    }
    return command.pre || command.pre_all || command.ref_all || command.ref_bank;
  }

  // The first cycle behind `now` whose step changes something, if accesses neither come nor go.
  int64_t next(int64_t now) const {
    if (!working_ && due_ > limit_) return now + 1;
    const bool soon = due_ && !working_ && idle_from_ != kNever;
    const int64_t quiet = soon ? idle_from_ + hbm_.refresh_idle_cycles : kNever;
    return std::max(std::min(tick_, quiet), now + 1);
  }

  // No access waits from cycle `from` on, or some do again.
  void begin_idle(int64_t from) { idle_from_ = from; }
  void end_idle() { idle_from_ = kNever; }

  // Steps in which nothing changes may be left out.
  void step(int64_t now, const RowCommand& command) {
    const bool made = command.ref_all || command.ref_bank;
    const bool quiet = idle_from_ != kNever && now - idle_from_ >= hbm_.refresh_idle_cycles;
    const bool wanted = due_ > limit_ || (due_ && quiet);
    const bool tick = now == tick_, worked = working_;
    if (tick) tick_ += interval_;
    due_ += tick - made;
    working_ = !made && (working_ || wanted);
    changed = tick || made || worked != working_;
    if (made && hbm_.per_bank) bank_ = (bank_ + 1) % kBanks;
  }

 private:
  const Hbm& hbm_;
  const int64_t interval_, limit_;
  int64_t tick_, due_ = 0, idle_from_ = 0;  // cycles: of the next interval, without accesses
  int bank_ = 0;
  bool working_ = false;
};

}  // namespace cycle
