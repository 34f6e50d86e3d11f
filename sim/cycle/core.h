// The whole core, cycle by cycle: what its RTL (rtl/top.py) does in time, without values.

#pragma once

#include <algorithm>

#include "load.h"
#include "matrix.h"
#include "port.h"
#include "record.h"
#include "run.h"
#include "semaphores.h"
#include "sequencer.h"
#include "sram.h"
#include "store.h"
#include "types.h"
#include "vector.h"

namespace cycle {

template <class Memory>
class Core {
 public:
  Counts counts;

  Core(const Chip& chip, const Trace& trace, Memory& memory)
      : chip_(chip), memory_(memory), numbers_(trace.numbers), sram_(chip),
        sequencer_(chip, trace.commands, trace.order, trace.jumps, trace.length,
                   trace.code_base, trace.code_count),
        load_(chip), store_(chip), matrix_(chip), vector_(chip), depth_(chip.queue_depth),
        recorder_(trace.times), marks_(trace.marks), length_(trace.length) {}

  // Runs until `halt`, or for `most` cycles; whether it halted.
  bool run(int64_t most) {
    tick();  // of the pulse that starts the program
    sequencer_.running = true;
    while (sequencer_.running && counts.cycles < most) {
      tick();
      if (kLeaps) leap(most - counts.cycles);
    }
    memory_.settle();
    return sequencer_.halted;
  }

 private:
  // So long others have to stand still until it is known that they go on to: more than the check,
  // its division and the count of an instruction's semaphores can take.
  int64_t stillness() const { return 16 + chip_.check_stages + chip_.divide_cycles; }

  // See leaps.h.
  void leap(int64_t most);
  bool others_move() const;
  bool wakes() const;
  void flow();

  void tick() {
    matrix_.ask(port(kMatrixWeights), port(kMatrixActivations));
    load_.ask(port(kLoadWrite), port(kLoadList));
    if (kLeaps && rest_ > stillness() && !wakes()) return flow();
    ask();
    const MemoryOut out = memory_.offer(in_.wvalid);
    const bool refused = sram_.arbitrate();
    const bool load_beat = out.rvalid && out.rid == kLoadReads;
    const bool load_ready = load_.evaluate(port(kLoadWrite), port(kLoadList), load_beat);
    const bool readable = matrix_.readable(vector_.acc_bank());
    vector_.evaluate(port(kVectorWrite), port(kVectorA), port(kVectorB), readable);
    issue();
    memory(out, load_ready);
    if (sequencer_.running) count(refused), count_work();
    rest_ = others_move() || out.bvalid ? 0 : rest_ + 1;
    still_ = rest_ == 0 || load_.busy || out.rvalid || in_.arvalid ? 0 : still_ + 1;
    step(out, load_beat && load_ready);
    memory_.step(in_);
  }

  SramPort& port(Client client) { return sram_.ports[client]; }

  // What depends on earlier cycles only.
  void ask() {
    vector_.ask(port(kVectorWrite), port(kVectorA), port(kVectorB));
    store_.ask(port(kStoreRead));
    WriteRequest& store = writes_.requests[kStoreWrites];
    store.valid = store_.requests, store.beat = store_.beat, store.last = store_.beat_last;
    store.used_from = store_.used_from, store.used_to = store_.used_to;
    if (store.valid) store.address = store_.bursts.address(), store.beats = store_.bursts.beats();
    bool room[kEngines] = {}, idle = true;
    for (int e = kLoad; e < kEngines; ++e) {
      room[e] = queues_[e].queue.size() != depth_;
      idle &= queues_[e].idle();
    }
    sequencer_.evaluate(room, idle);
    const Command* word = sequencer_.guard.command;
    WriteRequest& scalar = writes_.requests[kScalarWrites];
    scalar.valid = sequencer_.stores && !sequencer_.access.asked;
    scalar.beat = sequencer_.stores && !sequencer_.access.sent;
    scalar.last = true;
    if (sequencer_.stores) place(scalar, *word);
    writes_.present(in_);
  }

  void place(WriteRequest& request, const Command& word) {
    const int64_t beat = sequencer_.fetch.beat_bytes();
    request.address = word.address & ~(beat - 1), request.beats = 1;
    request.used_from = word.address & (beat - 1), request.used_to = request.used_from + 4;
  }

  // Semaphores, and what the sequencer does.
  void issue() {
    const Dispatcher& loads = queues_[kLoad];
    gather_ = loads.offers() && loads.next()->kind == kGather;
    ready_[kLoad] = load_.ready(gather_), ready_[kStore] = !store_.busy;
    ready_[kMatrix] = matrix_.ready(), ready_[kVector] = !vector_.busy;
    const bool done[] = {false, load_.done, store_.done, matrix_.done, vector_.done};
    SemaphorePort* ports[kEngines] = {&sequencer_.guard.port};
    for (int e = kLoad; e < kEngines; ++e) {
      queues_[e].ask(chip_, ready_[e], done[e]);
      ports[e] = &queues_[e].port;
    }
    semaphores_.serve(ports);
    for (int e = kLoad; e < kEngines; ++e) queues_[e].settle();
    sequencer_.settle();
  }

  void memory(const MemoryOut& out, bool load_ready) {
    Request& word = reads_.requests[kScalarReads];
    word.valid = sequencer_.loads && !sequencer_.access.asked;
    if (word.valid) {
      word.address = sequencer_.guard.command->address & ~(sequencer_.fetch.beat_bytes() - 1);
      word.beats = 1;
    }
    Request& fetch = reads_.requests[kFetchReads];
    fetch.valid = sequencer_.fetch.requests;
    fetch.address = sequencer_.fetch.address, fetch.beats = sequencer_.fetch.beats;
    ask_for_load();
    reads_.present(in_);
    reads_.decide(out.arready);
    writes_.decide(in_, out.awready, out.wready);
    in_.rready = out.rid != kLoadReads || load_ready;
    store_.evaluate(port(kStoreRead), writes_.requests[kStoreWrites].beaten);
  }

  void ask_for_load() {
    Request& load = reads_.requests[kLoadReads];
    load.valid = load_.requests;
    if (load.valid) load.address = load_.bursts.address(), load.beats = load_.bursts.beats();
  }

  void count(bool refused) {
    classes_[kSequencer] = sequencer_.classify();
    engine(kStore, store_.waiting_bank, false, store_.waiting_memory);
    engine(kVector, vector_.waiting_bank, vector_.waiting_operand, false);
    count_cycle(refused);
  }

  void count_cycle(bool refused) {
    ++counts.cycles;
    counts.conflicts += refused;
    engine(kLoad, load_.waiting_bank, false, load_.waiting_memory);
    engine(kMatrix, matrix_.waiting_bank, matrix_.waiting_operand, false);
    for (int e = 0; e < kEngines; ++e) ++counts.classes[e][classes_[e]];
    counts.work[kLoad] += port(kLoadWrite).accepted();
    counts.work[kMatrix] += matrix_.row;
  }

  void count_work() {
    bool retired[kEngines] = {sequencer_.retired};
    for (int e = kLoad; e < kEngines; ++e) retired[e] = queues_[e].retires;
    counts.retired[kSequencer] += retired[kSequencer];
    for (int e = kLoad; e < kEngines; ++e)
      if (retired[e]) ++counts.retired[e];
    if (recorder_.wanted()) recorder_.note(retired, classes_, 1);
    counts.work[kStore] += port(kStoreRead).accepted();
    counts.work[kVector] += vector_.issued;
    if (marks_) mark();
  }

  void mark() {
    const int64_t front = recorder_.front();
    if (marked_ < std::min(front, length_)) memory_.settle();
    for (; marked_ < length_ && marked_ < front; ++marked_)
      marks_[marked_] = {counts, memory_.counts};
  }

  void engine(Engine which, bool bank, bool operand, bool memory) {
    const Dispatcher& queue = queues_[which];
    const bool works = queue.working();
    const Class found = queue.idle()        ? kIdle
                        : queue.waiting()   ? kSemaphore
                        : works && bank     ? kBank
                        : works && operand  ? kOperand
                        : works && memory   ? kMemory
                                            : kBusy;
    classes_[which] = found;
  }

  void step(const MemoryOut& out, bool load_beaten) {
    const Command* starts[kEngines] = {};
    for (int e = kLoad; e < kEngines; ++e)
      if (queues_[e].start) starts[e] = queues_[e].next();
    const int64_t* numbers = numbers_;
    if (starts[kLoad] && starts[kLoad]->kind == kGather) numbers_ += starts[kLoad]->rows;
    const bool done[] = {false, load_.done, store_.done, matrix_.done, vector_.done};
    for (int e = kLoad; e < kEngines; ++e) queues_[e].step(done[e]);
    const bool answered = out.bvalid && out.bid == kStoreWrites;
    load_.step(port(kLoadWrite), port(kLoadList), reads_.requests[kLoadReads].accepted,
               load_beaten && out.rlast, starts[kLoad], numbers);
    const WriteRequest& store = writes_.requests[kStoreWrites];
    store_.step(port(kStoreRead), store.accepted, store.beaten, answered, starts[kStore]);
    matrix_.step(port(kMatrixActivations), starts[kMatrix]);
    vector_.step(port(kVectorWrite), starts[kVector]);
    if (sequencer_.offered && sequencer_.taken)
      queues_[sequencer_.offered->engine].queue.push(sequencer_.offered);
    step_sequencer(out);
    reads_.step();
    writes_.step();
  }

  void step_sequencer(const MemoryOut& out) {
    const WriteRequest& scalar = writes_.requests[kScalarWrites];
    const bool accepted = reads_.requests[kScalarReads].accepted || scalar.accepted;
    const bool fetched = out.rvalid && out.rid == kFetchReads;
    const bool answered = (out.rvalid && out.rid == kScalarReads) ||
                          (out.bvalid && out.bid == kScalarWrites);
    sequencer_.step(reads_.requests[kFetchReads].accepted, fetched, out.rlast, accepted,
                    scalar.beaten, answered);
  }

  const Chip& chip_;
  Memory& memory_;
  const int64_t* numbers_;
  Sram sram_;
  Sequencer sequencer_;
  LoadEngine load_;
  StoreEngine store_;
  MatrixUnit matrix_;
  VectorUnit vector_;
  SemaphoreFile semaphores_;
  Dispatcher queues_[kEngines];
  ReadMux reads_;
  WriteMux writes_;
  MemoryIn in_{};
  const int64_t depth_;
  Recorder recorder_;
  Class classes_[kEngines] = {};
  Mark* const marks_;
  const int64_t length_;
  int64_t marked_ = 0;
  bool ready_[kEngines] = {};  // to take a command
  bool gather_ = false;        // which would be one
  int64_t rest_ = 0, still_ = 0;  // cycles since any of the others, any at all has moved
  bool steady_ = false;
};

}  // namespace cycle

#include "leaps.h"
