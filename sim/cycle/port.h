// The memory port's read and write sides, shared by their clients (rtl/axi_mux.py).

#pragma once

#include "types.h"

namespace cycle {

struct Request {
  bool valid = false, accepted = false;
  int64_t address = 0, beats = 0;
};

// Requests pass a register; the scalar load stops the sequencer, the fetch soon does.
class ReadMux {
 public:
  Request requests[kReadIds];

  void present(MemoryIn& in) const {
    in.arvalid = valid_, in.arid = id_, in.araddr = address_, in.arbeats = beats_;
  }

  void decide(bool arready) {
    free_ = !valid_ || arready;
    bool taken = false;
    for (ReadId id : {kScalarReads, kFetchReads, kLoadReads}) {
      Request& request = requests[id];
      request.accepted = request.valid && free_ && !taken;
      taken |= request.valid;
    }
  }

  void step() {
    if (free_) valid_ = false;
    for (int id = 0; id < kReadIds; ++id) {
      if (!requests[id].accepted) continue;
      valid_ = true, id_ = id;
      address_ = requests[id].address, beats_ = requests[id].beats;
    }
  }

 private:
  bool valid_ = false, free_ = false;
  int id_ = 0;
  int64_t address_ = 0, beats_ = 0;
};

struct WriteRequest : Request {
  bool beat = false, last = false, beaten = false;
  int64_t used_from = 0, used_to = 0;
};

// The owner keeps the port for whole bursts; changing it takes one cycle.
class WriteMux {
 public:
  WriteRequest requests[kWriteIds];

  // What is offered, once the clients have said what they want.
  void present(MemoryIn& in) const {
    const WriteRequest& owner = requests[owner_];
    in.awid = owner_, in.awaddr = owner.address, in.awbeats = owner.beats;
    in.awvalid = owner.valid && !sent_;
    in.wvalid = owner.beat && !ended_;
    in.wlast = owner.last, in.used_from = owner.used_from, in.used_to = owner.used_to;
  }

  void decide(const MemoryIn& in, bool awready, bool wready) {
    sends_ = in.awvalid && awready;
    ends_ = in.wvalid && wready && in.wlast;
    for (int id = 0; id < kWriteIds; ++id) {
      requests[id].accepted = id == owner_ && sends_;
      requests[id].beaten = id == owner_ && in.wvalid && wready;
    }
  }

  void step() {
    const bool over = (sent_ || sends_) && (ended_ || ends_);
    const bool started = sent_ || ended_ || requests[owner_].valid;
    const bool wanted = requests[1 - owner_].valid;
    sent_ = (sent_ || sends_) && !over;
    ended_ = (ended_ || ends_) && !over;
    if (wanted && (over || !started)) owner_ = 1 - owner_;
  }

 private:
  int owner_ = 0;
  bool sent_ = false, ended_ = false, sends_ = false, ends_ = false;
};

}  // namespace cycle
