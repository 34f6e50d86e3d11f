// The cycle model behind a plain C interface, called from Python.

#include <cstdint>
#include <cstring>

#include "core.h"
#include "hbm_memory.h"
#include "simple_memory.h"
#include "types.h"

#define JX_API __attribute__((visibility("default")))

extern "C" {

struct Result {
  int64_t halted, cycles, conflicts;
  int64_t classes[int(cycle::kEngines) * int(cycle::kClasses)];
  int64_t retired[cycle::kEngines], work[cycle::kEngines];
  cycle::HbmCounts hbm;
};

}  // extern "C"

namespace {

template <class Memory>
void run(const cycle::Chip& chip, const cycle::Trace& trace, Memory& memory, int64_t most,
         Result& result) {
  auto* core = new cycle::Core<Memory>(chip, trace, memory);
  result.halted = core->run(most);
  result.cycles = core->counts.cycles;
  result.conflicts = core->counts.conflicts;
  std::memcpy(result.classes, core->counts.classes, sizeof result.classes);
  std::memcpy(result.retired, core->counts.retired, sizeof result.retired);
  std::memcpy(result.work, core->counts.work, sizeof result.work);
  delete core;
}

}  // namespace

// Time of a trace, `most` cycles at the most; `hbm` has no channels where the memory is simple.
extern "C" JX_API void jx_cycles(const cycle::Chip* chip, const cycle::Hbm* hbm,
                                 const cycle::Trace* trace, int64_t most, Result* result) {
  if (hbm->channels) {
    auto* memory = new cycle::HbmMemory(*chip, *hbm);
    run(*chip, *trace, *memory, most, *result);
    result->hbm = memory->counts;
    delete memory;
  } else {
    cycle::SimpleMemory memory(*chip);
    run(*chip, *trace, memory, most, *result);
  }
}
