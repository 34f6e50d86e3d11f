// The simple memory behind the core's AXI4 port.
//
// A burst's first beat may come `latency` cycles after its request, beats of all clients share
// `rate` bytes a cycle (a token bucket), reads come in order per id, the lowest id first; the memory
// acknowledges a write burst `latency` cycles after its last beat. What lies behind its end answers
// with an error, and is neither read nor written.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <string>

#include "VTop.h"
#include "layout.h"

namespace {

constexpr int kReadIds = 4;
constexpr uint8_t kOkay = 0, kSlaveError = 2;

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
  static void reset(VTop& top) {
    top.axi_rvalid = top.axi_bvalid = 0;
    top.axi_arready = top.axi_awready = top.axi_wready = 0;
    top.axi_rresp = top.axi_bresp = 0;
  }

  Memory(VTop& top, uint8_t* bytes, uint64_t size, uint32_t latency, uint32_t rate)
      : top_(top), bytes_(bytes), size_(size), latency_(latency), rate_(rate),
        most_(std::max<uint64_t>(rate, AXI_BYTES)) {}

  // Drive the chip's inputs for this cycle.
  void drive() {
    credit_ = std::min(credit_ + rate_, most_);
    const bool write_first = read_last_;
    if (write_first) offer_write();
    if (!top_.axi_rvalid) offer_read();
    if (!write_first) offer_write();
    top_.axi_arready = 1;
    top_.axi_awready = 1;
    top_.axi_bvalid = !responses_.empty() && responses_.front().ready <= cycle_;
    if (top_.axi_bvalid) {
      top_.axi_bid = responses_.front().id;
      top_.axi_bresp = responses_.front().status;
    }
  }

  // What the chip takes and gives at the clock edge; call with settled outputs, before the edge.
  void sample() {
    took_read_ = top_.axi_rvalid && top_.axi_rready;
    took_response_ = top_.axi_bvalid && top_.axi_bready;
    if (top_.axi_arvalid)
      reads_[top_.axi_arid].push_back(
          {top_.axi_araddr, cycle_ + latency_, top_.axi_arlen + 1u, top_.axi_arid, kOkay});
    if (top_.axi_awvalid)
      writes_.push_back({top_.axi_awaddr, 0, top_.axi_awlen + 1u, top_.axi_awid, kOkay});
    if (top_.axi_wvalid && top_.axi_wready) {
      WriteBeat beat;
      std::memcpy(beat.data, &top_.axi_wdata, AXI_BYTES);
      std::memcpy(beat.strobes, &top_.axi_wstrb, sizeof beat.strobes);
      beats_.push_back(beat);
      credit_ -= AXI_BYTES;
      read_last_ = false;
    }
    store();
  }

  // After the edge.
  void advance() {
    if (took_read_) top_.axi_rvalid = 0;
    if (took_response_) responses_.pop_front();
    ++cycle_;
  }

  bool wrong() const { return false; }
  std::string error() const { return {}; }  // what has gone wrong

  // Whether all that was written is in memory.
  bool settled() const { return true; }

 private:
  void offer_write() { top_.axi_wready = credit_ >= AXI_BYTES; }

  // Put the next beat, if there is one, on the R channel, where it stays until it is taken.
  void offer_read() {
    // A write that is about to be taken has its share already.
    const uint64_t reserved = (read_last_ && top_.axi_wvalid) ? AXI_BYTES : 0;
    if (credit_ < AXI_BYTES + reserved) return;
    for (auto& queue : reads_) {
      if (queue.empty() || queue.front().ready > cycle_) continue;
      Burst& burst = queue.front();
      load(burst);
      burst.address += AXI_BYTES;
      top_.axi_rid = burst.id;
      top_.axi_rlast = --burst.beats == 0;
      top_.axi_rvalid = 1;
      if (burst.beats == 0) queue.pop_front();
      credit_ -= AXI_BYTES;
      read_last_ = true;
      return;
    }
  }

  void load(const Burst& burst) {
    const bool known = inside(burst.address);
    top_.axi_rresp = known ? kOkay : kSlaveError;
    if (known)
      std::memcpy(&top_.axi_rdata, bytes_ + burst.address, AXI_BYTES);
    else
      std::memset(&top_.axi_rdata, 0, AXI_BYTES);
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

  VTop& top_;
  uint8_t* const bytes_;
  const uint64_t size_, latency_, rate_, most_;
  uint64_t cycle_ = 0, credit_ = 0;
  bool read_last_ = false, took_read_ = false, took_response_ = false;
  std::deque<Burst> reads_[kReadIds], writes_;
  std::deque<WriteBeat> beats_;
  std::deque<Response> responses_;
};

}  // namespace
