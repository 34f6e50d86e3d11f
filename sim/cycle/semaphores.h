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

// Acquires an instruction's waits one by one; once it is executed, raises its signals.
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

// An engine's queue: for each command waits, starts it, waits for `done`, signals.
struct Dispatcher {
  Ring<const Command*, 64> queue;
  Guard guard;
  bool started = false, finished = false, start = false, nop = false;

  bool idle() const { return queue.empty(); }
  bool waiting() const { return guard.valid && !guard.acquired; }
  bool working() const { return started && !finished; }
  const Command* head() const { return queue.front(); }

  // `ready`: the engine is idle; `done`: its pulse.
  void evaluate(bool ready, bool done) {
    guard.ask(!queue.empty(), queue.empty() ? nullptr : head());
    start = false;
    if (queue.empty()) return;
    nop = head()->kind == kNop;
    guard.execute(nop || finished || (started && done));
    start = guard.acquired && !nop && !started && ready;
  }

  void step(bool done) {
    if (queue.empty()) return;
    const bool over = guard.retires();
    guard.step();
    if (over) {
      started = finished = false;
      queue.pop();
      return;
    }
    const bool was = started;
    started |= start;
    finished |= was && done;
  }
};

}  // namespace cycle
