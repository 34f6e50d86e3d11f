// Timing checker of one HBM pseudo-channel (PC). It knows the parameters of isa/hbm.py and the
// rules below, and sees what is on the port: nothing of any controller. It remembers the first rule
// that is broken and what broke it, and looks at nothing after that.

#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace hbm {

// Organisation: isa/hbm.py is its home, hbm_device.cpp checks that these agree.
constexpr int kBankGroups = 4, kBanksPerGroup = 4, kBanks = kBankGroups * kBanksPerGroup;
constexpr int kColumns = 32, kBurstCycles = 2, kActCycles = 2;
constexpr int kPostponed = 8;  // refreshes that may be late, and that count when they are early

// Fields of isa/hbm.py's HbmTiming, in cycles of CK.
#define HBM_TIMING(X)                                                                \
  X(cl) X(cwl) X(rcd_rd) X(rcd_wr) X(rp) X(ras) X(rc) X(wr) X(rtp) X(ccd_s) X(ccd_l) \
  X(rrd_s) X(rrd_l) X(faw) X(wtr_s) X(wtr_l) X(rtw) X(rfc_ab) X(rfc_pb) X(rrefd) X(refi)

struct Timing {
#define HBM_FIELD(name) int32_t name;
  HBM_TIMING(HBM_FIELD)
#undef HBM_FIELD
};

enum RowCommand : uint32_t { kRowNone, kAct, kPre, kPreAll, kRefAll, kRefBank };
enum ColumnCommand : uint32_t { kColumnNone, kRead, kWrite };

// The command buses in one cycle.
struct Commands {
  uint32_t row_cmd = kRowNone, row_bank = 0, row_addr = 0;
  uint32_t col_cmd = kColumnNone, col_bank = 0, col_addr = 0;
};

// What rules speak of; PREA is a PRE of every open bank.
enum Kind { ACT, PRE, REFAB, REFPB, RD, WR, kKinds };

// Which of the commands before is meant: the last of its kind ...
enum Scope {
  kSameBank,
  kSameGroup,  // the same bank among them: what holds for it is stricter
  kOtherGroup,
  kAnyBank,
  kFourthLast,  // not the last: the fourth last, in any bank
};

// From a command to any of the set `to` at least `least` cycles pass.
struct Rule {
  const char* name;
  Kind from;
  unsigned to;
  Scope scope;
  int64_t least;
};

// Where two are broken at once, the one that stands first is reported.
inline std::vector<Rule> rules(const Timing& t) {
  const unsigned act = 1 << ACT, pre = 1 << PRE, ref_all = 1 << REFAB, ref_bank = 1 << REFPB;
  const unsigned rd = 1 << RD, wr = 1 << WR, row = act | pre | ref_all | ref_bank;
  const int after_write = t.cwl + kBurstCycles;  // from WR until its data are in
  return {
      {"row bus", ACT, row, kAnyBank, kActCycles},
      {"tRCD_RD", ACT, rd, kSameBank, t.rcd_rd},
      {"tRCD_WR", ACT, wr, kSameBank, t.rcd_wr},
      {"tRAS", ACT, pre, kSameBank, t.ras},
      {"tRC", ACT, act, kSameBank, t.rc},
      {"tRP", PRE, act | ref_bank, kSameBank, t.rp},
      {"tRP", PRE, ref_all, kAnyBank, t.rp},
      {"tRRD_L", ACT, act, kSameGroup, t.rrd_l},
      {"tRRD_S", ACT, act, kOtherGroup, t.rrd_s},
      {"tRRD_S", ACT, ref_bank, kAnyBank, t.rrd_s},
      {"tFAW", ACT, act, kFourthLast, t.faw},
      {"tRTP", RD, pre, kSameBank, t.rtp},
      {"tWR", WR, pre, kSameBank, after_write + t.wr},
      {"tCCD_L", RD, rd, kSameGroup, t.ccd_l},
      {"tCCD_S", RD, rd, kOtherGroup, t.ccd_s},
      {"tCCD_L", WR, wr, kSameGroup, t.ccd_l},
      {"tCCD_S", WR, wr, kOtherGroup, t.ccd_s},
      {"tWTR_L", WR, rd, kSameGroup, after_write + t.wtr_l},
      {"tWTR_S", WR, rd, kOtherGroup, after_write + t.wtr_s},
      {"tRTW", RD, wr, kAnyBank, t.rtw},
      {"tRFCab", REFAB, row, kAnyBank, t.rfc_ab},  // RD, WR: all banks are closed
      {"tRFCpb", REFPB, act | pre | ref_bank, kSameBank, t.rfc_pb},
      {"tRFCpb", REFPB, ref_all, kAnyBank, t.rfc_pb},
      {"tRREFD", REFPB, act | ref_bank, kAnyBank, t.rrefd},
      // Data come in the order of their commands, never two at once. WR to RD: tWTR is longer.
      {"data bus", RD, rd, kAnyBank, kBurstCycles},
      {"data bus", WR, wr, kAnyBank, kBurstCycles},
      {"data bus", RD, wr, kAnyBank, t.cl + kBurstCycles - t.cwl},
  };
}

constexpr int64_t kNever = -(int64_t{1} << 60);

// A command as it was given; what it has not is -1.
struct Event {
  const char* label = "";
  int64_t cycle = kNever;
  int32_t bank = -1;
  int64_t row = -1, column = -1;

  std::string text() const {
    std::string words = label;
    if (bank >= 0) words += " bank " + std::to_string(bank);
    if (row >= 0) words += " row " + std::to_string(row);
    if (column >= 0) words += " column " + std::to_string(column);
    return words + " at cycle " + std::to_string(cycle);
  }
};

inline constexpr Event kNone;

struct Violation {
  const char* name;        // of the rule
  Event second, first;     // first.cycle is kNever where no earlier command has to do with it
  const char* bound = "";  // "at least" or "at most", where there is a number
  int64_t wanted = 0;

  // `tRRD_L: ACT bank 5 row 17 at cycle 120, 4 after ACT bank 4 row 3 at cycle 116, at least 5`
  std::string text() const {
    std::string words = std::string(name) + ": " + second.text();
    if (first.cycle != kNever)
      words += ", " + std::to_string(second.cycle - first.cycle) + " after " + first.text();
    if (*bound) words += std::string(", ") + bound + " " + std::to_string(wanted);
    return words;
  }
};

class Checker {
 public:
  Checker(const Timing& timing, uint32_t rows) : refi_(timing.refi), rows_(rows) {
    for (const Rule& rule : rules(timing))
      for (int kind = 0; kind < kKinds; ++kind)
        if (rule.to >> kind & 1) rules_[kind].push_back(rule);
    std::fill_n(open_row_, kBanks, -1);
    latest_refresh_ = (kPostponed + 1) * refi_;
    std::fill_n(refreshes_, kBanks, Refreshes{0, latest_refresh_, {"reset", 0}});
  }

  // Look at the commands of one cycle; call it in every cycle of CK from the reset on, in which all
  // banks are closed. The column command finds the banks as they were before the row command.
  void tick(const Commands& commands) {
    if (!broken_) {
      if (cycle_ > latest_refresh_) refuse_postponing();
      if (commands.col_cmd != kColumnNone) column(commands);
      if (commands.row_cmd != kRowNone) row(commands);
    }
    ++cycle_;
  }

  // The first violation, nullptr as long as there is none.
  const Violation* violation() const { return broken_ ? &violation_ : nullptr; }

  int64_t cycle() const { return cycle_; }  // the one that comes next

 private:
  struct Refreshes {  // of a bank: one is due every tREFI
    int64_t made, latest;  // `latest`: last cycle for the next
    Event last;
  };

  void column(const Commands& c) {
    static constexpr const char* kLabels[] = {"", "RD", "WR", "column command 3"};
    Event event{kLabels[c.col_cmd & 3], cycle_, int32_t(c.col_bank), -1, c.col_addr};
    if (c.col_cmd > kWrite) return refuse("unknown command", event);
    if (!within("bank out of range", event, c.col_bank, kBanks)) return;
    if (!within("column out of range", event, c.col_addr, kColumns)) return;
    event.row = open_row_[event.bank];
    if (event.row < 0) return refuse("bank is closed", event, of_bank_[PRE][event.bank]);
    give(c.col_cmd == kRead ? RD : WR, event);
  }

  void row(const Commands& c) {
    static constexpr const char* kLabels[] = {
        "", "ACT", "PRE", "PREA", "REFAB", "REFPB", "row command 6", "row command 7"};
    const bool has_bank = c.row_cmd != kPreAll && c.row_cmd != kRefAll;
    Event event{kLabels[c.row_cmd & 7], cycle_, has_bank ? int32_t(c.row_bank) : -1};
    if (c.row_cmd == kAct) event.row = c.row_addr;
    if (c.row_cmd > kRefBank) return refuse("unknown command", event);
    if (has_bank && !within("bank out of range", event, c.row_bank, kBanks)) return;
    if (c.row_cmd == kAct) return activate(event);
    if (c.row_cmd == kPre) return precharge(event);
    if (c.row_cmd == kPreAll) return precharge_all(event);
    refresh(event);
  }

  void activate(const Event& event) {
    if (!within("row out of range", event, event.row, rows_)) return;
    if (!is_closed(event, event.bank) || !give(ACT, event)) return;
    open_row_[event.bank] = event.row;
    acts_[act_count_++ % 4] = event;
  }

  void precharge(const Event& event) {
    // Of a closed bank it takes the bus, and does nothing: tRP goes on from the one that closed it.
    if (open_row_[event.bank] < 0) return void(keeps_rules(PRE, event));
    if (give(PRE, event)) open_row_[event.bank] = -1;
  }

  void precharge_all(Event event) {
    if (!keeps_rules(PRE, event)) return;
    for (event.bank = 0; event.bank < kBanks && !broken_; ++event.bank)
      if (open_row_[event.bank] >= 0) precharge(event);
  }

  void refresh(const Event& event) {
    const bool all = event.bank < 0;
    const int first = all ? 0 : event.bank, end = all ? kBanks : event.bank + 1;
    for (int bank = first; bank < end; ++bank)
      if (!is_closed(event, bank)) return;
    if (!give(all ? REFAB : REFPB, event)) return;
    for (int bank = first; bank < end; ++bank) count_refresh(refreshes_[bank], event);
    latest_refresh_ = longest_waiting().latest;
  }

  // Refreshes in advance count, up to kPostponed of them, but do not let a bank wait for longer.
  void count_refresh(Refreshes& bank, const Event& event) {
    bank.made = std::min(bank.made + 1, cycle_ / refi_ + kPostponed);
    bank.latest = std::min(bank.made * refi_, cycle_) + (kPostponed + 1) * refi_;
    bank.last = event;
  }

  const Refreshes& longest_waiting() const {
    return *std::ranges::min_element(refreshes_, {}, &Refreshes::latest);
  }

  void refuse_postponing() {
    const Refreshes& bank = longest_waiting();
    const Event none{"no refresh of", cycle_, int32_t(&bank - refreshes_)};
    refuse("refresh postponed", none, bank.last, "at most", bank.latest - bank.last.cycle);
  }

  bool is_closed(const Event& event, int bank) {
    if (open_row_[bank] >= 0) refuse("bank is open", event, of_bank_[ACT][bank]);
    return open_row_[bank] < 0;
  }

  bool within(const char* name, const Event& event, int64_t value, int64_t count) {
    if (value >= count) refuse(name, event, kNone, "at most", count - 1);
    return value < count;
  }

  bool keeps_rules(Kind kind, const Event& event) {
    for (const Rule& rule : rules_[kind]) {
      const Event& before = last(rule, event.bank);
      if (event.cycle - before.cycle >= rule.least) continue;
      refuse(rule.name, event, before, "at least", rule.least);
      return false;
    }
    return true;
  }

  const Event& last(const Rule& rule, int bank) const {
    if (rule.scope == kAnyBank) return of_all_[rule.from];
    if (rule.scope == kFourthLast) return acts_[act_count_ % 4];
    if (bank < 0) return kNone;
    const int group = bank / kBanksPerGroup;
    if (rule.scope == kSameBank) return of_bank_[rule.from][bank];
    if (rule.scope == kSameGroup) return of_group_[rule.from][group];
    const Event* latest = &kNone;
    for (int other = 0; other < kBankGroups; ++other)
      if (other != group && of_group_[rule.from][other].cycle > latest->cycle)
        latest = &of_group_[rule.from][other];
    return *latest;
  }

  // Accept a command, unless a rule forbids it.
  bool give(Kind kind, const Event& event) {
    if (!keeps_rules(kind, event)) return false;
    of_all_[kind] = event;
    if (event.bank >= 0)
      of_bank_[kind][event.bank] = of_group_[kind][event.bank / kBanksPerGroup] = event;
    return true;
  }

  void refuse(const char* name, const Event& second, const Event& first = kNone,
              const char* bound = "", int64_t wanted = 0) {
    if (!broken_) violation_ = {name, second, first, bound, wanted};
    broken_ = true;
  }

  const int64_t refi_, rows_;
  std::vector<Rule> rules_[kKinds];  // by the command that comes second
  int64_t cycle_ = 0, latest_refresh_;
  int64_t open_row_[kBanks];  // -1: the bank is closed
  Event of_bank_[kKinds][kBanks], of_group_[kKinds][kBankGroups], of_all_[kKinds];
  Event acts_[4];  // the last four, in a ring
  uint64_t act_count_ = 0;
  Refreshes refreshes_[kBanks];
  bool broken_ = false;
  Violation violation_{};
};

}  // namespace hbm
