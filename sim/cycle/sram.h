// The SRAM's ports and banks (rtl/sram.py), and what reads ahead through one (rtl/reader.py).

#pragma once

#include "types.h"

namespace cycle {

// In order of priority.
enum Client {
  kMatrixWeights,
  kMatrixActivations,
  kLoadWrite,
  kLoadList,
  kVectorWrite,
  kVectorA,
  kVectorB,
  kStoreRead,
  kClients,
};

struct SramPort {
  bool valid = false, ready = true;
  int64_t line = 0;

  bool accepted() const { return valid && ready; }
  bool refused() const { return valid && !ready; }
};

// One access per bank and cycle.
struct Sram {
  SramPort ports[kClients];

  explicit Sram(const Chip& chip)
      : bank_mask_(chip.sram_banks - 1), digit_bits_(chip.bank_digit_bits) {}

  // Decides who is ready; returns whether anyone is refused.
  bool arbitrate() {
    uint64_t taken = 0;
    bool refused = false;
    for (SramPort& port : ports) {
      if (!port.valid) {
        port.ready = false;
        continue;
      }
      const uint64_t bank = 1ull << bank_of(port.line);
      port.ready = !(taken & bank);
      refused |= !port.ready;
      taken |= bank;
    }
    return refused;
  }

 private:
  int64_t bank_of(int64_t line) const {
    int64_t sum = 0;
    for (; line; line >>= digit_bits_) sum += line;
    return sum & bank_mask_;
  }

  const int64_t bank_mask_, digit_bits_;
};

// A stream of lines to be read becomes one of lines, with a tag each.
template <class Tag>
class LineReader {
 public:
  explicit LineReader(int64_t depth) : depth_(depth) {}

  bool free() const { return taken_ != depth_; }
  bool valid() const { return !lines_.empty(); }
  bool idle() const { return taken_ == 0; }
  const Tag& tag() const { return lines_.front(); }

  void request(SramPort& port, bool wanted, int64_t line) const {
    port.valid = wanted && free();
    port.line = line;
  }

  // Whether each cycle from now on brings a line and takes one, if neither is held up.
  bool flows() const { return arriving_ && valid() && free(); }
  template <class Condition>
  bool all(const Condition& condition) {
    for (int i = 0; i < lines_.size(); ++i)
      if (!condition(lines_[i])) return false;
    return condition(arriving_tag_);
  }

  // `accepted`: the request with `tag` is; `popped`: the consumer takes a line.
  void step(bool accepted, const Tag& tag, bool popped) {
    popped = popped && valid();
    if (popped) lines_.pop();
    if (arriving_) lines_.push(arriving_tag_);
    arriving_ = accepted;
    arriving_tag_ = tag;
    taken_ += accepted - popped;
  }

 private:
  const int64_t depth_;
  int64_t taken_ = 0;
  bool arriving_ = false;
  Tag arriving_tag_{};
  Ring<Tag, 16> lines_;
};

}  // namespace cycle
