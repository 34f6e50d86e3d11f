// The sequencer (rtl/sequencer.py): executes scalar instructions as they come in the trace, passes
// all through the check, hands the engines' to their queues.

#pragma once

#include "fetch.h"
#include "semaphores.h"
#include "types.h"

namespace cycle {

// Loads and stores of one word (rtl/scalar.py).
struct ScalarMemory {
  bool asked = false, sent = false, finished = false;

  void step(bool clear, bool accepted, bool beaten, bool answered) {
    if (clear) {
      asked = sent = finished = false;
      return;
    }
    asked |= accepted;
    sent |= beaten;
    finished |= answered;
  }
};

// Counts the waits and signals of each instruction, in program order: a cycle for each, and one
// where it has no signal.
struct ProgramOrder {
  int64_t done = 0;

  static int64_t cycles(const Command& command) {
    return command.waits + (command.signals ? command.signals : 1);
  }
  bool passes(const Command& command) const { return done + 1 == cycles(command); }
  void step(bool works, bool passed) { done = passed ? 0 : done + works; }
};

class Sequencer {
 public:
  Fetch fetch;
  Guard guard;
  ScalarMemory access;
  bool running = false, halted = false;
  bool entered = false, retired = false, jump = false;
  bool loads = false, stores = false;  // a word is asked for, is offered to be written
  const Command* offered = nullptr;    // to its engine's queue
  bool taken = false;

  Sequencer(const Chip& chip, const Command* commands, const int32_t* trace,
            const uint8_t* jumps, int64_t count, int64_t base_atom, int64_t code_count)
      : fetch(chip, base_atom, code_count),
        commands_(commands), trace_(trace), jumps_(jumps), count_(count), code_count_(code_count),
        stages_(int(chip.check_stages)), divide_cycles_(chip.divide_cycles) {}

  const Command& next() const { return commands_[trace_[at_]]; }

  // All but the semaphores. `room`: the queue of an engine has some; `idle`: all engines are.
  void evaluate(const bool (&room)[kEngines], bool idle) {
    const Command* entry = stage_[stages_ - 1];
    passed_ = entry && (counted_ || order_.passes(*entry));
    const bool own = entry && entry->engine == kSequencer;
    guard.ask(passed_ && own && entry->serial, entry);
    bool executed = false;
    loads = stores = false;
    if (guard.valid) {
      const int64_t kind = entry->kind;
      const bool word = kind == kLoadWord || kind == kStoreWord;
      executed = word ? access.finished : kind == kSync || kind == kHalt ? idle : true;
      loads = guard.acquired && kind == kLoadWord;
      stores = guard.acquired && kind == kStoreWord;
    }
    guard.execute(executed);
    executed_ = executed;
    offered = passed_ && !own ? entry : nullptr;
    if (offered) taken = room[entry->engine];
  }

  // Behind the semaphores.
  void settle() {
    const Command* entry = stage_[stages_ - 1];
    const bool own = entry && entry->engine == kSequencer;
    retire_ = guard.retires();
    retired = passed_ && own && (entry->serial ? retire_ : true);
    if (!offered) taken = retired;
    advance_check();
    const bool valid = running && !held_ && fetch.valid && at_ < count_;
    entered = valid && ready_[0];
    const bool now = (entered && next().engine == kSequencer && !next().serial) || retire_;
    target_ = at_ + 1 < count_ ? commands_[trace_[at_ + 1]].pc : 0;
    advance_ = (entered && !next().serial) || retire_;
    jump = now && jumps_[at_];
    fetch.ask(running && fetch.pc < code_count_, jump);
  }

  Class classify() const {
    const Command* entry = stage_[stages_ - 1];
    if (entered || taken) return kBusy;
    const bool word = entry && (entry->kind == kLoadWord || entry->kind == kStoreWord) &&
                      entry->engine == kSequencer;
    const bool stuck = guard.acquired && !executed_;
    if (offered || (stuck && !word)) return kOperand;
    if (guard.valid && !guard.acquired) return kSemaphore;
    if (entry ? stuck && word : !busy_) return kMemory;
    return kBusy;
  }

  void step(bool fetch_accepted, bool fetch_beat, bool fetch_last, bool word_accepted,
            bool word_beaten, bool word_answered) {
    const Command* entry = stage_[stages_ - 1];
    const bool works = entry && !counted_;
    if (entry) order_.step(works, works && passed_);
    counted_ = passed_ && !taken;
    if (retire_ && entry->kind == kHalt) running = false, halted = true;
    access.step(retire_, word_accepted, word_beaten, word_answered);
    guard.step();
    move_check();
    if (retire_) held_ = false;
    else if (entered && next().serial) held_ = true;
    fetch.step(advance_, jump, target_, fetch_accepted, fetch_beat, fetch_last);
    if (advance_) ++at_;
  }

 private:
  // Who may move on: `ready_[i]` is of what enters stage i.
  void advance_check() {
    divides_ = stage_[0] && stage_[0]->divides;
    hold_ = divides_ && divided_ <= divide_cycles_;
    bool ready = taken;  // of the last stage
    for (int i = stages_ - 1; i >= 0; --i) {
      open_[i] = !stage_[i] || ready;
      ready = open_[i] && !(i == 1 && hold_);
      ready_[i] = ready;
    }
    busy_ = false;
    for (int i = 0; i < stages_ - 1; ++i) busy_ |= stage_[i] != nullptr;
  }

  void move_check() {
    if (stage_[0] && ready_[1]) divided_ = 0;
    else if (divides_ && hold_) ++divided_;
    for (int i = stages_ - 1; i > 0; --i)
      if (open_[i]) stage_[i] = i == 1 && hold_ ? nullptr : stage_[i - 1];
    if (open_[0]) stage_[0] = entered ? &next() : nullptr;
  }

  const Command* const commands_;
  const int32_t* const trace_;
  const uint8_t* const jumps_;
  const int64_t count_, code_count_;
  const int stages_;
  const int64_t divide_cycles_;
  ProgramOrder order_;
  const Command* stage_[8] = {};
  bool open_[8] = {}, ready_[8] = {};
  int64_t at_ = 0, target_ = 0, divided_ = 0;
  bool held_ = false, counted_ = false, passed_ = false, retire_ = false, advance_ = false;
  bool executed_ = false, divides_ = false, hold_ = false, busy_ = false;
};

}  // namespace cycle
