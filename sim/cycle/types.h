// What all parts of the cycle model share: the chip's numbers, commands, and the memory port.
//
// Python fills `Chip` and `Command` field by field, in the order of the lists below.

#pragma once

#include <cstdint>

namespace cycle {

// Whether cycles in which nothing can happen are passed over, which changes no counter; a test
// compares both.
#ifdef EVERY_CYCLE
constexpr bool kLeaps = false;
#else
constexpr bool kLeaps = true;
#endif

// From isa.config.ChipConfig, isa.hbm and rtl.timing, whose names they have.
#define CHIP_FIELDS(X)                                                                            \
  X(rows) X(cols) X(lanes) X(line_bytes) X(line_shift) X(acc_row_shift) X(sram_lines)             \
  X(sram_banks) X(bank_digit_bits) X(axi_bytes) X(queue_depth) X(burst_beats) X(load_bursts)      \
  X(store_bursts) X(acc_bank_shift) X(group_rows) X(rows_ahead) X(array_row_bytes)                \
  X(operand_address_bits) X(latency) X(rate) X(instruction_bytes) X(atom_bytes) X(page_bytes) X(index_bytes)              \
  X(fetch_depth) X(fetch_burst) X(fetch_ahead) X(commands_at_work) X(check_stages) X(divide_cycles) X(reader_depth)   \
  X(operand_depth) X(special_cycles) X(gather_stages)

struct Chip {
#define X(name) int64_t name;
  CHIP_FIELDS(X)
#undef X
};

// An instruction with its operands resolved. `kind` is a `Kind`; what is not the engine's is 0.
#define COMMAND_FIELDS(X)                                                                         \
  X(pc) X(engine) X(kind) X(serial) X(divides) X(waits) X(signals)                                \
  X(wait_semaphore_0) X(wait_count_0) X(wait_semaphore_1) X(wait_count_1) X(wait_semaphore_2)     \
  X(wait_count_2) X(signal_0) X(signal_1) X(signal_2)                                             \
  X(address)                                                                                      \
  X(hbm) X(hstride) X(sram) X(sstride) X(bytes) X(offset) X(planes) X(hplane) X(splane)           \
  X(acc) X(a) X(astride) X(w) X(wstride) X(wpanel) X(m) X(k) X(n) X(accumulates) X(transposed)    \
  X(weight_unit) X(scale_header) X(scale_block) X(scale_row_bytes)                                \
  X(dst) X(dstride) X(b) X(bstride) X(rep) X(rows) X(columns) X(result_bytes) X(a_bytes)          \
  X(b_bytes) X(from_acc) X(is_column) X(reads_b) X(skip)

struct Command {
#define X(name) int64_t name;
  COMMAND_FIELDS(X)
#undef X
  int64_t wait_semaphore(int i) const { return (&wait_semaphore_0)[2 * i]; }
  int64_t wait_count(int i) const { return (&wait_count_0)[2 * i]; }
  int64_t signal(int i) const { return (&signal_0)[i]; }
};

enum Engine { kSequencer, kLoad, kStore, kMatrix, kVector, kEngines };
enum Kind : int64_t {
  kNop, kAlu, kBranch, kLoadWord, kStoreWord, kSync, kHalt,  // of engines and of the sequencer
  kCopy, kGather, kMatmul, kMove, kSpecial, kReduce,         // what engines do
};
enum Class { kBusy, kOperand, kSemaphore, kBank, kMemory, kIdle, kClasses };

// Read and write clients of the memory port: their ids.
enum ReadId { kFetchReads, kScalarReads, kLoadReads, kReadIds };
enum WriteId { kScalarWrites, kStoreWrites, kWriteIds };

// What the memory offers in a cycle; all of it depends on earlier cycles only.
struct MemoryOut {
  bool arready, rvalid, rlast, awready, wready, bvalid;
  int rid, bid;
};

// What the core does: `used_from`, `used_to` are the bytes of the beat that are written.
struct MemoryIn {
  bool arvalid, rready, awvalid, wvalid, wlast;
  int arid, awid;
  int64_t araddr, arbeats, awaddr, awbeats, used_from, used_to;
};

// Of all pseudo-channels together; `refreshes`: commands.
struct HbmCounts {
  int64_t reads = 0, writes = 0, row_hits = 0, row_misses = 0, row_conflicts = 0;
  int64_t turnarounds = 0, refreshes = 0;
};

inline int64_t ceil_log2(int64_t value) { return value < 2 ? 0 : 64 - __builtin_clzll(value - 1); }

// A queue of at most N entries, N a power of two.
template <class T, int N>
class Ring {
 public:
  int size() const { return int(tail_ - head_); }
  bool empty() const { return head_ == tail_; }
  T& front() { return items_[head_ % N]; }
  const T& front() const { return items_[head_ % N]; }
  T& operator[](int i) { return items_[(head_ + i) % N]; }
  const T& operator[](int i) const { return items_[(head_ + i) % N]; }
  void push(const T& item) { items_[tail_++ % N] = item; }
  void pop() { ++head_; }
  void clear() { head_ = tail_; }

 private:
  T items_[N] = {};
  uint32_t head_ = 0, tail_ = 0;
};

}  // namespace cycle
