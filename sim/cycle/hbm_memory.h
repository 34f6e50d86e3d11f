// All pseudo-channels behind the chip's port (rtl/hbm_memory.py): bursts are cut into pieces.

#pragma once

#include <algorithm>
#include <vector>

#include "hbm_channel.h"
#include "hbm_types.h"
#include "types.h"

namespace cycle {

// A burst of the port, cut where the pseudo-channel changes (rtl/hbm_pieces.py).
class Pieces {
 public:
  bool active = false;
  int id = 0;

  Pieces(const Chip& chip, const Hbm& hbm)
      : hbm_(hbm), beat_bytes_(chip.axi_bytes), most_(hbm.piece_bytes / chip.axi_bytes) {}

  int64_t room() const { return most_ - (beat_ & (most_ - 1)); }
  bool last() const { return left_ <= room(); }
  int64_t beats() const { return last() ? left_ : room(); }
  int64_t address() const { return beat_ * beat_bytes_; }
  int channel() const { return channel_; }

  void step(bool next, bool taken, int64_t address, int64_t beats_of_burst, int of) {
    if (taken) {
      active = true, beat_ = address / beat_bytes_, left_ = beats_of_burst, id = of;
      channel_ = int(hbm_.field(this->address(), kChannel));
    } else if (next) {
      const int64_t by = beats();
      active = left_ > by;
      beat_ += by, left_ -= by;
      channel_ = int(hbm_.field(this->address(), kChannel));
    }
  }

 private:
  const Hbm& hbm_;
  const int64_t beat_bytes_, most_;
  int64_t beat_ = 0, left_ = 0;
  int channel_ = 0;
};

// A piece under way.
struct Piece {
  int channel, id;
  int64_t beats;
  bool last;
};

struct WriteWord {
  int64_t from, to;
};

class HbmMemory {
 public:
  HbmCounts counts;

  HbmMemory(const Chip& chip, const Hbm& hbm)
      : hbm_(hbm), read_pieces_(chip, hbm), write_pieces_(chip, hbm),
        parts_(chip.axi_bytes / hbm.beat_bytes),
        waiting_(2 * hbm.piece_bytes / chip.axi_bytes) {
    channels_.reserve(hbm.channels);
    for (int i = 0; i < hbm.channels; ++i) channels_.emplace_back(hbm);
    gathered_.resize(hbm.channels), gather_part_.resize(hbm.channels);
    spread_.resize(hbm.channels), spread_part_.resize(hbm.channels);
    until_.resize(hbm.channels);
  }

  MemoryOut offer(bool) {
    if (now_ >= next_) rouse();
    for (uint64_t left = awake_; left; left &= left - 1) {
      const int i = __builtin_ctzll(left);
      evaluate(i);
    }
    read_next_ = read_pieces_.active && reads_.size() != hbm_.order_depth &&
                 channels_[read_pieces_.channel()].reads.ready;
    write_next_ = write_pieces_.active && routes_.size() != hbm_.order_depth &&
                  ends_.size() != hbm_.order_depth &&
                  channels_[write_pieces_.channel()].writes.ready;
    out_ = {};
    out_.arready = !read_pieces_.active || (read_next_ && read_pieces_.last());
    out_.awready = !write_pieces_.active || (write_next_ && write_pieces_.last());
    if (!reads_.empty()) {
      const Piece& piece = reads_.front();
      out_.rvalid = gathered_[piece.channel] != 0;
      out_.rid = piece.id;
      out_.rlast = piece.last && read_count_ == piece.beats - 1;
    }
    out_.wready = !routes_.empty() && spread_[routes_.front().channel].size() != waiting_;
    here_ = !ends_.empty() && channels_[ends_.front().channel].writes.bvalid;
    out_.bvalid = here_ && ends_.front().last;
    if (here_) out_.bid = ends_.front().id;
    return out_;
  }

  void step(const MemoryIn& in) {
    step_channels();
    take_beats(in);
    give_beats(in);
    if (here_) ends_.pop();
    if (read_next_) reads_.push(piece(read_pieces_));
    if (write_next_) routes_.push(piece(write_pieces_)), ends_.push(piece(write_pieces_));
    read_pieces_.step(read_next_, in.arvalid && out_.arready, in.araddr, in.arbeats, in.arid);
    write_pieces_.step(write_next_, in.awvalid && out_.awready, in.awaddr, in.awbeats, in.awid);
    ++now_;
  }

  // For how many cycles nothing happens unless a burst comes; so many pass.
  int64_t rest() const {
    if (read_pieces_.active || write_pieces_.active) return 0;
    if (!reads_.empty() || !routes_.empty() || !ends_.empty()) return 0;
    return awake_ ? 0 : next_ - now_;
  }
  void pass(int64_t cycles) { now_ += cycles; }

 private:
  static Piece piece(const Pieces& from) {
    return {from.channel(), from.id, from.beats(), from.last()};
  }

  Channel::Asked asked(const Pieces& pieces, bool next, int channel) const {
    if (!next || pieces.channel() != channel) return {};
    return {true, pieces.address() / hbm_.beat_bytes, pieces.beats() * parts_};
  }

  // A channel in which nothing can happen is left alone until `until_`, or until a burst comes;
  // before `next_` no channel is woken.
  void rouse() {
    next_ = kNever;
    for (int i = 0; i < int(channels_.size()); ++i)
      if (until_[i] <= now_) awake_ |= uint64_t{1} << i;
      else next_ = std::min(next_, until_[i]);
  }
  void evaluate(int i) {
    const bool valid = !spread_[i].empty();
    const WriteWord word = valid ? spread_[i].front() : WriteWord{0, 0};
    const int64_t first = spread_part_[i] * hbm_.beat_bytes;
    const int64_t from = std::max<int64_t>(word.from - first, 0);
    const int64_t to = std::min(word.to - first, hbm_.beat_bytes);
    channels_[i].evaluate(now_, valid, from, to);
  }

  void step_channels() {
    if (read_next_) rouse(read_pieces_.channel());
    if (write_next_) rouse(write_pieces_.channel());
    for (uint64_t left = awake_; left; left &= left - 1) {
      const int i = __builtin_ctzll(left);
      Channel& channel = channels_[i];
      // Beats of the port, of a channel's on the way back.
      const bool ends = gather_part_[i] == parts_ - 1;
      const bool rready = gathered_[i] != waiting_ || !ends;
      const bool gathers = channel.reads.rvalid && rready;
      const bool spreads = !spread_[i].empty() && channel.writes.wready;
      channel.step(now_, asked(read_pieces_, read_next_, i), asked(write_pieces_, write_next_, i),
                   rready, here_ && ends_.front().channel == i, counts);
      if (gathers) {
        gather_part_[i] = ends ? 0 : gather_part_[i] + 1;
        fresh_ |= uint64_t(ends) << i;
      }
      if (spreads && ++spread_part_[i] == parts_) spread_part_[i] = 0, spread_[i].pop();
      const int64_t rest = spread_[i].empty() ? channel.rest(now_) : 0;
      if (!rest) continue;
      until_[i] = now_ + 1 + rest;
      next_ = std::min(next_, until_[i]);
      awake_ &= ~(uint64_t{1} << i);
    }
  }
  void rouse(int i) {
    if (awake_ >> i & 1) return;
    awake_ |= uint64_t{1} << i;
    evaluate(i);
  }

  // Write beats to the channel of their piece. (What channels popped in this cycle was there.)
  void take_beats(const MemoryIn& in) {
    if (!in.wvalid || !out_.wready) return;
    const Piece& route = routes_.front();
    spread_[route.channel].push({in.used_from, in.used_to});
    if (++write_count_ == route.beats) write_count_ = 0, routes_.pop();
  }

  // Read beats to the core, in the order of the requests.
  void give_beats(const MemoryIn& in) {
    if (out_.rvalid && in.rready) {
      --gathered_[reads_.front().channel];
      if (++read_count_ == reads_.front().beats) read_count_ = 0, reads_.pop();
    }
    for (; fresh_; fresh_ &= fresh_ - 1) ++gathered_[__builtin_ctzll(fresh_)];
  }

  const Hbm& hbm_;
  Pieces read_pieces_, write_pieces_;
  const int64_t parts_, waiting_;
  std::vector<Channel> channels_;
  std::vector<int64_t> gathered_, gather_part_, spread_part_, until_;
  std::vector<Ring<WriteWord, 1024>> spread_;
  Ring<Piece, 128> reads_, routes_, ends_;
  MemoryOut out_{};
  int64_t now_ = 0, next_ = 0, read_count_ = 0, write_count_ = 0;
  uint64_t awake_ = 0, fresh_ = 0;  // a bit for each channel
  bool read_next_ = false, write_next_ = false, here_ = false;
};

}  // namespace cycle
