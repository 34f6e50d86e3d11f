// Clock, reset and memory around the verilated chip; called from Python through a plain C interface.
//
// The top module is the top, behind which `simple_memory.h` plays the memory, or the top with its
// HBM controllers, behind which `hbm_memory.h` plays the devices.

#include <cstdint>
#include <cstdio>
#include <cstring>

#include "VTop.h"
#include "VTop___024root.h"
#include "layout.h"  // sizes, and where Verilator put the SRAM macros' contents
#include "cycle/record.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif
#if HBM_CHANNELS
#include "hbm_memory.h"
#else
#include "simple_memory.h"
#endif

namespace {

enum Status : uint32_t { kHalted, kTrapped, kTimeout };

struct Model {
  VerilatedContext context;
  VTop top{&context, "Top"};
#if VM_TRACE
  VerilatedVcdC trace;
#endif

  void half(int clock) {
    top.clk = clock;
    top.eval();
#if VM_TRACE
    trace.dump(context.time());
#endif
    context.timeInc(1);
  }
};

// Registers to their initial values; SRAM and accumulators keep theirs.
void reset(Model& model) {
  VTop& top = model.top;
  top.start = 0;
  Memory::reset(top);
  top.rst = 1;
  for (int i = 0; i < 2; ++i) {
    model.half(0);
    model.half(1);
  }
  top.rst = 0;
}

// The bank of a line, as rtl/sram.py has it.
int bank_of(int line) {
  int sum = 0;
  for (int digits = line; digits; digits >>= BANK_DIGIT_BITS) sum += digits;
  return sum % SRAM_BANKS;
}

#if SRAM_PARITY
// The parity bits of a line: one for each granule.
void set_parity(Model& model, int line, const uint8_t* bytes) {
  uint8_t packed[(LINE_BYTES / GRANULE_BYTES + 7) / 8] = {};
  for (int byte = 0; byte < LINE_BYTES; ++byte)
    packed[byte / GRANULE_BYTES / 8] ^= __builtin_parity(bytes[byte])
                                        << byte / GRANULE_BYTES % 8;
  void* row = parity_row(model.top.rootp, bank_of(line), line / SRAM_BANKS);
  std::memcpy(row, packed, sizeof packed);
}
#endif

// Tells a recorder what the counters of a cycle have counted.
class Watch {
 public:
  explicit Watch(cycle::Times* const* times) : recorder_(times) {}

  void see(const VTop& top) {
    if (!recorder_.wanted()) return;
    uint32_t counters[COUNTER_WORDS], counts[CLASS_WORDS];
    std::memcpy(counters, &top.counters, sizeof counters);
    std::memcpy(counts, &top.classes, sizeof counts);
    bool retired[cycle::kRecordEngines];
    int classes[cycle::kRecordEngines];
    for (int e = 0; e < cycle::kRecordEngines; ++e) retired[e] = counters[e] != counters_[e];
    for (int i = 0; i < CLASS_WORDS; ++i)
      if (counts[i] != classes_[i])
        classes[i / cycle::kRecordClasses] = i % cycle::kRecordClasses;
    if (top.cycles != cycles_) recorder_.note(retired, classes, 1);
    cycles_ = top.cycles;
    std::memcpy(counters_, counters, sizeof counters);
    std::memcpy(classes_, counts, sizeof counts);
  }

 private:
  cycle::Recorder recorder_;
  uint64_t cycles_ = 0;
  uint32_t counters_[COUNTER_WORDS] = {}, classes_[CLASS_WORDS] = {};
};

}  // namespace

#define JX_API __attribute__((visibility("default")))

extern "C" {

// A bit of the HBM that is read wrong, see hbm_device.h.
struct Fault {
  uint32_t channel, bank, row, column, bit, stuck;
};

struct Program {
  uint32_t code_base;  // atoms
  uint32_t code_count;
  uint32_t latency;
  uint32_t rate;
  uint64_t max_cycles;
  const Fault* faults;
  uint64_t fault_count;
  cycle::Times* times[cycle::kRecordEngines];  // what `Recorder` takes
};

struct Result {
  uint64_t cycles;
  uint64_t conflicts;
  uint32_t status;
  uint32_t trap_cause;
  uint32_t trap_pc;
  uint32_t trap_where;
  uint32_t trap_atom;
  uint32_t counters[COUNTER_WORDS];
  uint32_t classes[CLASS_WORDS];
  uint32_t hbm[HBM_WORDS];
  char error[512];  // of the memory; "" if there is none
};

JX_API void* jx_create(const char* trace_path) {
  Model* model = new Model;
#if VM_TRACE
  model->context.traceEverOn(true);
  model->top.trace(&model->trace, 99);
  model->trace.open(trace_path);
#endif
  reset(*model);
  return model;
}

JX_API void jx_destroy(void* handle) {
  Model* model = static_cast<Model*>(handle);
  // The thread's context may be that of another model, which is gone already.
  Verilated::threadContextp(&model->context);
  model->top.final();
#if VM_TRACE
  model->trace.close();
#endif
  delete model;
}

JX_API void jx_run(void* handle, uint8_t* bytes, uint64_t size, const Program* program,
                   Result* result) {
  Model& model = *static_cast<Model*>(handle);
  VTop& top = model.top;
  reset(model);
#if HBM_CHANNELS
  Memory memory(top, bytes, size);
  for (const Fault* f = program->faults; f != program->faults + program->fault_count; ++f)
    memory.inject(f->channel, {f->bank, f->row, f->column, f->bit, f->stuck != 0});
#else
  Memory memory(top, bytes, size, program->latency, program->rate);
#endif
  const auto cycle = [&] {
    memory.drive();
    model.half(0);
    memory.sample();
    model.half(1);
    memory.advance();
    top.start = 0;
  };
  top.code_base = program->code_base;
  top.code_count = program->code_count;
  top.memory_atoms = static_cast<uint32_t>(size / ATOM_BYTES);
  top.start = 1;
  Watch watch(program->times);
  for (uint64_t left = program->max_cycles; left; --left) {
    if (top.halted | top.trapped || memory.wrong()) break;
    cycle();
    watch.see(top);
  }
  while ((top.halted | top.trapped) && !memory.settled() && !memory.wrong()) cycle();
  result->cycles = top.cycles;
  result->conflicts = top.conflicts;
  result->status = top.trapped ? kTrapped : top.halted ? kHalted : kTimeout;
  result->trap_cause = top.trap_cause;
  result->trap_pc = top.trap_pc;
  result->trap_where = top.trap_where;
  result->trap_atom = top.trap_atom;
  std::memcpy(result->counters, &top.counters, sizeof result->counters);
  std::memcpy(result->classes, &top.classes, sizeof result->classes);
#if HBM_CHANNELS
  std::memcpy(result->hbm, &top.memory_counters, sizeof result->hbm);
#endif
  std::snprintf(result->error, sizeof result->error, "%s", memory.error().c_str());
#if VM_TRACE
  model.trace.flush();
#endif
}

// SRAM bytes in address order: line n is row n / banks of its bank.
JX_API void jx_copy_sram(void* handle, uint8_t* bytes, int to_model) {
  Model& model = *static_cast<Model*>(handle);
  for (int line = 0; line < SRAM_LINES; ++line, bytes += LINE_BYTES) {
    void* row = sram_row(model.top.rootp, bank_of(line), line / SRAM_BANKS);
    std::memcpy(to_model ? row : bytes, to_model ? bytes : row, LINE_BYTES);
#if SRAM_PARITY
    if (to_model) set_parity(model, line, bytes);
#endif
  }
}

// Turn a bit of the SRAM over, behind the back of what protects it.
JX_API void jx_flip_sram(void* handle, uint32_t byte, uint32_t bit) {
  Model& model = *static_cast<Model*>(handle);
  const int line = byte / LINE_BYTES;
  void* row = sram_row(model.top.rootp, bank_of(line), line / SRAM_BANKS);
  static_cast<uint8_t*>(row)[byte % LINE_BYTES] ^= 1 << bit;
}

// Accumulators, row by row, C words of 32 bits each.
JX_API void jx_copy_acc(void* handle, uint32_t* words, int to_model) {
  Model& model = *static_cast<Model*>(handle);
  for (int row = 0; row < ACC_ROWS; ++row)
    for (int column = 0; column < COLS; ++column, ++words) {
      void* word = acc_word(model.top.rootp, row / ACC_BANK_ROWS * COLS + column,
                            row % ACC_BANK_ROWS);
      std::memcpy(to_model ? word : words, to_model ? words : word, sizeof *words);
    }
}

}  // extern "C"
