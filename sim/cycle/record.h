// When each instruction retires and which cycles are its own. Fed by the model and by the RTL's
// harness with what both count in each cycle, so that their records are alike.

#pragma once

#include <cstdint>

namespace cycle {

constexpr int kRecordEngines = 5, kRecordClasses = 6;  // isa.table.Engine, isa.counters
constexpr int kRecordBusy = 0, kRecordIdle = 5, kRecordSequencer = 0;

// One executed instruction; Python fills `place`, its place in program order.
struct Times {
  int64_t place;
  int64_t end;                       // cycles from the start to its retirement, that included
  int64_t classes[kRecordClasses];   // of its engine, while it was the head of the queue
  int64_t owned[kRecordClasses];     // while it was the oldest that had not retired
};

class Recorder {
 public:
  // `lists`: of each engine its instructions in order, behind them one with the largest `place`;
  // null where nothing is to be recorded.
  explicit Recorder(Times* const* lists) {
    for (int e = 0; e < kRecordEngines; ++e) heads_[e] = lists[e];
  }

  bool wanted() const { return heads_[kRecordSequencer] != nullptr; }

  // The place of the oldest that has not retired.
  int64_t front() const {
    int64_t found = heads_[0]->place;
    for (int e = 1; e < kRecordEngines; ++e)
      if (heads_[e]->place < found) found = heads_[e]->place;
    return found;
  }

  // `cycles` that are alike: the engines' classes, and who retires in the last of them.
  template <class Flag, class Of>
  void note(const Flag& retired, const Of& classes, int64_t cycles) {
    now_ += cycles;
    own(classes, cycles);
    for (int e = 0; e < kRecordEngines; ++e)
      if (e != kRecordSequencer && classes[e] != kRecordIdle)
        heads_[e]->classes[classes[e]] += cycles;
    sequencer(retired[kRecordSequencer], classes[kRecordSequencer], cycles);
    for (int e = 0; e < kRecordEngines; ++e)
      if (retired[e]) heads_[e]++->end = now_;
  }

 private:
  // A cycle of the oldest is in its engine's class, in the sequencer's as long as the engine has
  // not got it.
  template <class Of>
  void own(const Of& classes, int64_t cycles) {
    int oldest = 0;
    for (int e = 1; e < kRecordEngines; ++e)
      if (heads_[e]->place < heads_[oldest]->place) oldest = e;
    const int found = classes[oldest];
    heads_[oldest]->owned[found == kRecordIdle ? classes[kRecordSequencer] : found] += cycles;
  }

  // The sequencer has no queue: an instruction's cycles are that in which it retires, and those in
  // which nothing worked just before.
  void sequencer(bool retired, int found, int64_t cycles) {
    if (found == kRecordBusy && !retired)
      for (int64_t& stalled : stalled_) stalled = 0;
    else
      stalled_[found] += cycles;
    if (!retired) return;
    for (int c = 0; c < kRecordClasses; ++c) {
      heads_[kRecordSequencer]->classes[c] = stalled_[c];
      stalled_[c] = 0;
    }
  }

  Times* heads_[kRecordEngines];
  int64_t stalled_[kRecordClasses] = {};
  int64_t now_ = 0;
};

}  // namespace cycle
