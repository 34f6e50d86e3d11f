// Clock, reset and memory around the verilated core; called from Python through a plain C interface.
//
// The memory is a simple one: a burst's first beat may come `latency` cycles after its request, beats
// of all clients share `bytes_per_cycle` (a token bucket), reads come in order per id, the lowest
// id first; the memory acknowledges a write burst `latency` cycles after its last beat. What lies
// behind its end answers with an error, and is neither read nor written.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>

#include "VCore.h"
#include "VCore___024root.h"
#include "layout.h"  // sizes, and where Verilator put the SRAM macros' contents
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

constexpr int kReadIds = 4;
constexpr uint8_t kOkay = 0, kSlaveError = 2;

enum Status : uint32_t { kHalted, kTrapped, kTimeout };

struct Burst {
  uint64_t address;
  uint64_t ready;  // cycle from which beats may flow
  uint32_t beats;
  uint32_t id;
  uint8_t status;  // of the beats so far
};

struct WriteBeat {
  uint8_t data[AXI_BYTES];
  uint8_t strobes[(AXI_BYTES + 7) / 8];
};

struct Response {
  uint64_t ready;
  uint32_t id;
  uint8_t status;
};

class Memory {
 public:
  Memory(VCore& core, uint8_t* bytes, uint64_t size, uint32_t latency, uint32_t rate)
      : core_(core), bytes_(bytes), size_(size), latency_(latency), rate_(rate),
        most_(std::max<uint64_t>(rate, AXI_BYTES)) {}

  // Drive the core's inputs for this cycle.
  void drive() {
    credit_ = std::min(credit_ + rate_, most_);
    const bool write_first = read_last_;
    if (write_first) offer_write();
    if (!core_.axi_rvalid) offer_read();
    if (!write_first) offer_write();
    core_.axi_arready = 1;
    core_.axi_awready = 1;
    core_.axi_bvalid = !responses_.empty() && responses_.front().ready <= cycle_;
    if (core_.axi_bvalid) {
      core_.axi_bid = responses_.front().id;
      core_.axi_bresp = responses_.front().status;
    }
  }

  // What the core takes and gives at the clock edge; call with settled outputs, before the edge.
  void sample() {
    took_read_ = core_.axi_rvalid && core_.axi_rready;
    took_response_ = core_.axi_bvalid && core_.axi_bready;
    if (core_.axi_arvalid)
      reads_[core_.axi_arid].push_back(
          {core_.axi_araddr, cycle_ + latency_, core_.axi_arlen + 1u, core_.axi_arid, kOkay});
    if (core_.axi_awvalid)
      writes_.push_back({core_.axi_awaddr, 0, core_.axi_awlen + 1u, core_.axi_awid, kOkay});
    if (core_.axi_wvalid && core_.axi_wready) {
      WriteBeat beat;
      std::memcpy(beat.data, &core_.axi_wdata, AXI_BYTES);
      std::memcpy(beat.strobes, &core_.axi_wstrb, sizeof beat.strobes);
      beats_.push_back(beat);
      credit_ -= AXI_BYTES;
      read_last_ = false;
    }
    store();
  }

  // After the edge.
  void advance() {
    if (took_read_) core_.axi_rvalid = 0;
    if (took_response_) responses_.pop_front();
    ++cycle_;
  }

 private:
  void offer_write() { core_.axi_wready = credit_ >= AXI_BYTES; }

  // Put the next beat, if there is one, on the R channel, where it stays until it is taken.
  void offer_read() {
    // A write that is about to be taken has its share already.
    const uint64_t reserved = (read_last_ && core_.axi_wvalid) ? AXI_BYTES : 0;
    if (credit_ < AXI_BYTES + reserved) return;
    for (auto& queue : reads_) {
      if (queue.empty() || queue.front().ready > cycle_) continue;
      Burst& burst = queue.front();
      load(burst);
      burst.address += AXI_BYTES;
      core_.axi_rid = burst.id;
      core_.axi_rlast = --burst.beats == 0;
      core_.axi_rvalid = 1;
      if (burst.beats == 0) queue.pop_front();
      credit_ -= AXI_BYTES;
      read_last_ = true;
      return;
    }
  }

  void load(const Burst& burst) {
    const bool known = inside(burst.address);
    core_.axi_rresp = known ? kOkay : kSlaveError;
    if (known)
      std::memcpy(&core_.axi_rdata, bytes_ + burst.address, AXI_BYTES);
    else
      std::memset(&core_.axi_rdata, 0, AXI_BYTES);
  }

  // Write what has both an address and data.
  void store() {
    while (!writes_.empty() && !beats_.empty()) {
      Burst& burst = writes_.front();
      const WriteBeat& beat = beats_.front();
      if (!inside(burst.address)) {
        burst.status = kSlaveError;
      } else {
        for (int i = 0; i < AXI_BYTES; ++i)
          if (beat.strobes[i / 8] >> (i % 8) & 1) bytes_[burst.address + i] = beat.data[i];
      }
      beats_.pop_front();
      burst.address += AXI_BYTES;
      if (--burst.beats == 0) {
        responses_.push_back({cycle_ + latency_, burst.id, burst.status});
        writes_.pop_front();
      }
    }
  }

  bool inside(uint64_t address) const {
    return size_ >= AXI_BYTES && address <= size_ - AXI_BYTES;
  }

  VCore& core_;
  uint8_t* const bytes_;
  const uint64_t size_, latency_, rate_, most_;
  uint64_t cycle_ = 0, credit_ = 0;
  bool read_last_ = false, took_read_ = false, took_response_ = false;
  std::deque<Burst> reads_[kReadIds], writes_;
  std::deque<WriteBeat> beats_;
  std::deque<Response> responses_;
};

struct Model {
  VerilatedContext context;
  VCore core{&context, "Core"};
#if VM_TRACE
  VerilatedVcdC trace;
#endif

  void half(int clock) {
    core.clk = clock;
    core.eval();
#if VM_TRACE
    trace.dump(context.time());
#endif
    context.timeInc(1);
  }
};

// Registers to their initial values; SRAM and accumulators keep theirs.
void reset(Model& model) {
  VCore& core = model.core;
  core.start = 0;
  core.axi_rvalid = core.axi_bvalid = 0;
  core.axi_arready = core.axi_awready = core.axi_wready = 0;
  core.axi_rresp = core.axi_bresp = 0;
  core.rst = 1;
  for (int i = 0; i < 2; ++i) {
    model.half(0);
    model.half(1);
  }
  core.rst = 0;
}

}  // namespace

#define JX_API __attribute__((visibility("default")))

extern "C" {

struct Program {
  uint32_t code_base;  // atoms
  uint32_t code_count;
  uint32_t latency;
  uint32_t rate;
  uint64_t max_cycles;
};

struct Result {
  uint64_t cycles;
  uint64_t conflicts;
  uint32_t status;
  uint32_t trap_cause;
  uint32_t trap_pc;
  uint32_t trap_where;
  uint32_t counters[COUNTER_WORDS];
  uint32_t classes[CLASS_WORDS];
};

JX_API void* jx_create(const char* trace_path) {
  Model* model = new Model;
#if VM_TRACE
  model->context.traceEverOn(true);
  model->core.trace(&model->trace, 99);
  model->trace.open(trace_path);
#endif
  reset(*model);
  return model;
}

JX_API void jx_destroy(void* handle) {
  Model* model = static_cast<Model*>(handle);
  // The thread's context may be that of another model, which is gone already.
  Verilated::threadContextp(&model->context);
  model->core.final();
#if VM_TRACE
  model->trace.close();
#endif
  delete model;
}

JX_API void jx_run(void* handle, uint8_t* bytes, uint64_t size, const Program* program,
                   Result* result) {
  Model& model = *static_cast<Model*>(handle);
  VCore& core = model.core;
  reset(model);
  Memory memory(core, bytes, size, program->latency, program->rate);
  core.code_base = program->code_base;
  core.code_count = program->code_count;
  core.memory_atoms = static_cast<uint32_t>(size / ATOM_BYTES);
  core.start = 1;
  for (uint64_t cycle = 0; cycle < program->max_cycles; ++cycle) {
    if (core.halted | core.trapped) break;
    memory.drive();
    model.half(0);
    memory.sample();
    model.half(1);
    memory.advance();
    core.start = 0;
  }
  result->cycles = core.cycles;
  result->conflicts = core.conflicts;
  result->status = core.trapped ? kTrapped : core.halted ? kHalted : kTimeout;
  result->trap_cause = core.trap_cause;
  result->trap_pc = core.trap_pc;
  result->trap_where = core.trap_where;
  std::memcpy(result->counters, &core.counters, sizeof result->counters);
  std::memcpy(result->classes, &core.classes, sizeof result->classes);
#if VM_TRACE
  model.trace.flush();
#endif
}

// SRAM bytes in address order: line n is row n / banks of bank n % banks.
JX_API void jx_copy_sram(void* handle, uint8_t* bytes, int to_model) {
  Model& model = *static_cast<Model*>(handle);
  for (int line = 0; line < SRAM_LINES; ++line, bytes += LINE_BYTES) {
    void* row = sram_row(model.core.rootp, line % SRAM_BANKS, line / SRAM_BANKS);
    std::memcpy(to_model ? row : bytes, to_model ? bytes : row, LINE_BYTES);
  }
}

// Accumulators, row by row, C words of 32 bits each.
JX_API void jx_copy_acc(void* handle, uint32_t* words, int to_model) {
  Model& model = *static_cast<Model*>(handle);
  for (int row = 0; row < ACC_ROWS; ++row)
    for (int column = 0; column < COLS; ++column, ++words) {
      void* word = acc_word(model.core.rootp, column, row);
      std::memcpy(to_model ? word : words, to_model ? words : word, sizeof *words);
    }
}

}  // extern "C"
