// Cycles of the core in which most of it stands still: what moves alone, and many at once.

#pragma once

#include "core.h"

namespace cycle {

// Whether any but the matrix unit and the load engine does something in this cycle.
template <class Memory>
bool Core<Memory>::others_move() const {
  if (store_.busy || in_.awvalid || in_.wvalid || vector_.moves()) return true;
  for (Client client : {kVectorWrite, kVectorA, kVectorB})
    if (sram_.ports[client].valid) return true;
  if (sequencer_.entered || sequencer_.taken || sequencer_.loads || sequencer_.stores) return true;
  if (sequencer_.fetch.requests || sequencer_.fetch.waits()) return true;
  if (sequencer_.guard.port.valid && sequencer_.guard.port.ready) return true;
  for (int e = kLoad; e < kEngines; ++e) {
    const Dispatcher& queue = queues_[e];
    if (queue.begins || queue.retires || (queue.port.valid && queue.port.ready)) return true;
  }
  return false;
}

// Whether the matrix unit or the load engine does what others wait for.
template <class Memory>
bool Core<Memory>::wakes() const {
  if (load_.done || matrix_.done) return true;
  if (vector_.busy && matrix_.readable(vector_.acc_bank())) return true;
  return load_.ready(gather_) != ready_[kLoad] || matrix_.ready() != ready_[kMatrix];
}

// A cycle in which only these two and the memory's reads may do something.
template <class Memory>
void Core<Memory>::flow() {
  const MemoryOut out = memory_.offer(false);
  const bool refused = sram_.arbitrate();
  const bool ready = load_.evaluate(port(kLoadWrite), port(kLoadList), out.rvalid);
  ask_for_load();
  reads_.present(in_);
  reads_.decide(out.arready);
  in_.rready = ready;
  count_cycle(refused);
  const bool none[kEngines] = {};
  if (recorder_.wanted()) recorder_.note(none, classes_, 1);
  still_ = load_.busy || out.rvalid || in_.arvalid ? 0 : still_ + 1;
  load_.step(port(kLoadWrite), port(kLoadList), reads_.requests[kLoadReads].accepted,
             out.rvalid && ready && out.rlast, nullptr, numbers_);
  matrix_.step(port(kMatrixActivations), nullptr);
  reads_.step();
  memory_.step(in_);
}

// Let the cycles pass in which the matrix unit takes row after row of a tile and all others wait.
template <class Memory>
void Core<Memory>::leap(int64_t most) {
  const bool waits = !vector_.busy || matrix_.unreadable(vector_.acc_bank());
  const bool still = still_ > stillness() && waits;
  const int64_t steady = still ? matrix_.steady() : 0;
  const bool before = steady_;
  steady_ = steady > 0;
  if (!before || !steady_) return;
  const int64_t cycles = std::min({steady, memory_.rest(), most});
  if (cycles <= 0) return;
  matrix_.leap(cycles);
  memory_.pass(cycles);
  counts.cycles += cycles;
  counts.work[kMatrix] += cycles;
  for (int e = 0; e < kEngines; ++e) counts.classes[e][classes_[e]] += cycles;
  const bool none[kEngines] = {};
  if (recorder_.wanted()) recorder_.note(none, classes_, cycles);
}

}  // namespace cycle
