// Counting semaphores (rtl/semaphore.py), and the queues around each engine (rtl/dispatch.py).

#pragma once

#include "types.h"

namespace cycle {

constexpr int kSemaphores = 32;

// One operation on a semaphore, as an engine's guard asks for it.
struct SemaphorePort {
  bool valid = false, raises = false, ready = false;
  int64_t semaphore = 0, count = 0;
};

// One operation a cycle: signals before waits, then by engine.
struct SemaphoreFile {
  int64_t counters[kSemaphores] = {};

  void serve(SemaphorePort* (&ports)[kEngines]) {
    SemaphorePort* raising = nullptr;
    SemaphorePort* met = nullptr;
    for (int i = kEngines - 1; i >= 0; --i) {
      SemaphorePort& port = *ports[i];
      port.ready = false;
      if (!port.valid) continue;
      if (port.raises) raising = &port;
      else if (counters[port.semaphore] >= port.count) met = &port;
    }
    SemaphorePort* granted = raising ? raising : met;
    if (!granted) return;
    granted->ready = true;
    counters[granted->semaphore] += granted->raises ? 1 : -granted->count;
  }
};

// Of an instruction of the sequencer: acquires its waits one by one; once it is executed, raises
// its signals.
struct Guard {
  SemaphorePort port;
  bool valid = false, acquired = false, finishing = false;
  int lowered = 0, raised = 0;  // how many are done
  const Command* command = nullptr;

  void ask(bool is_valid, const Command* of) {
    valid = is_valid, command = of;
    acquired = valid && lowered == of->waits;
    finishing = port.valid = false;
  }

  // Behind `ask`, once it is known whether the instruction is executed.
  void execute(bool executed) {
    if (!valid) return;
    finishing = acquired && executed;
    port.raises = finishing;
    port.valid = finishing ? raised < command->signals : !acquired;
    if (!port.valid) return;
    port.semaphore = finishing ? command->signal(raised) : command->wait_semaphore(lowered);
    port.count = finishing ? 0 : command->wait_count(lowered);
  }

  bool retires() const {
    if (!finishing) return false;
    const int64_t left = command->signals - raised;
    return left == 0 || (left == 1 && port.ready);
  }

  void step() {
    if (!valid) return;
    if (retires()) lowered = raised = 0;
    else if (port.valid && port.ready) ++(finishing ? raised : lowered);
  }
};

// An engine's queue: for each command waits, starts it; when it is done, signals.
struct Dispatcher {
  Ring<const Command*, 64> queue;  // all that have not retired, the first `begun` of them begun
  SemaphorePort port;
  bool start = false, retires = false;
  bool valid = false, acquired = false, begins = false;  // of the next one to begin

  bool idle() const { return queue.empty(); }
  bool waiting() const { return begun_ == 0 && valid && !acquired; }
  bool working() const { return running_ != 0; }
  bool offers() const { return queue.size() > begun_; }
  const Command* next() const { return queue[int(begun_)]; }

  // `ready`: the engine takes a command; `done`: its pulse.
  void ask(const Chip& chip, bool ready, bool done) {
    valid = port.valid = start = begins = acquired = finishing_ = false;
    if (queue.empty()) return;
    valid = offers() && begun_ < chip.commands_at_work;
    if (valid) {
      const Command& command = *next();
      acquired = lowered_ == command.waits;
      const bool nop = command.kind == kNop;
      begins = acquired && (nop || ready);
      start = begins && !nop;
      if (!acquired) {
        port.valid = true, port.raises = false;
        port.semaphore = command.wait_semaphore(lowered_), port.count = command.wait_count(lowered_);
      }
    }
    if (begun_ == 0) return;
    const Command& oldest = *queue.front();
    finishing_ = oldest.kind == kNop || done || ended_ != 0;
    if (!finishing_ || raised_ == oldest.signals) return;
    port.valid = port.raises = true;
    port.semaphore = oldest.signal(raised_), port.count = 0;
  }

  // Behind the semaphores' answer.
  void settle() {
    const int64_t left = finishing_ ? queue.front()->signals - raised_ : 0;
    retires = finishing_ && (left == 0 || (left == 1 && port.ready));
  }

  void step(bool done) {
    if (queue.empty()) return;
    running_ += start - done;
    const bool counts = retires && queue.front()->kind != kNop;
    if (port.valid && port.ready) ++(port.raises ? raised_ : lowered_);
    if (begins) ++begun_, lowered_ = 0;
    ended_ += done - counts;
    if (!retires) return;
    raised_ = 0, --begun_;
    queue.pop();
  }

 private:
  bool finishing_ = false;
  int64_t begun_ = 0, running_ = 0, ended_ = 0;  // commands: begun, given to the engine, done
  int lowered_ = 0, raised_ = 0;  // waits of the next one, signals of the oldest
};

}  // namespace cycle
