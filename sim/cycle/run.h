// What a run is given, and what is counted in it.

#pragma once

#include "record.h"
#include "types.h"

namespace cycle {

struct Counts {
  int64_t cycles = 0, conflicts = 0;
  int64_t classes[kEngines][kClasses] = {};
  int64_t retired[kEngines] = {};  // instructions
  int64_t work[kEngines] = {};     // lines, rows and vectors, as isa.counters has them
};

// What was counted when an instruction and all before it had retired.
struct Mark {
  Counts counts;
  HbmCounts hbm;
};

struct Trace {
  const Command* commands;  // each once
  const int32_t* order;     // which are executed, one after another
  const uint8_t* jumps;     // of them, branches that are taken
  int64_t length;
  const int64_t* numbers;  // the rows of all gathers, in that order
  int64_t code_base, code_count;
  Times* times[kEngines];  // as `Recorder` takes them
  Mark* marks;             // of each instruction, if times are recorded; null if none are wanted
};

}  // namespace cycle
