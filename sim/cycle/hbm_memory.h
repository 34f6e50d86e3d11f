// All pseudo-channels behind the chip's port (rtl/hbm_memory.py): bursts are cut into pieces.

#pragma once

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

class HbmMemory {
 public:
  HbmCounts counts;  // as far as `settle` was called

  HbmMemory(const Chip& chip, const Hbm& hbm)
      : hbm_(hbm), places_(hbm), read_pieces_(chip, hbm), write_pieces_(chip, hbm),
        parts_(chip.axi_bytes / hbm.beat_bytes),
        waiting_(2 * hbm.piece_bytes / chip.axi_bytes) {
    channels_.reserve(hbm.channels);
    for (int i = 0; i < hbm.channels; ++i)
      channels_.emplace_back(hbm, places_, parts_, waiting_, counts);
  }
  HbmMemory(const HbmMemory&) = delete;  // channels refer to it

  MemoryOut offer(bool) {
    read_next_ = read_pieces_.active && reads_.size() != hbm_.order_depth &&
                 channels_[read_pieces_.channel()].takes_read(now_);
    write_next_ = write_pieces_.active && routes_.size() != hbm_.order_depth &&
                  ends_.size() != hbm_.order_depth &&
                  channels_[write_pieces_.channel()].takes_write(now_);
    out_ = {};
    out_.arready = !read_pieces_.active || (read_next_ && read_pieces_.last());
    out_.awready = !write_pieces_.active || (write_next_ && write_pieces_.last());
    if (!reads_.empty()) {
      const Piece& piece = reads_.front();
      out_.rvalid = channels_[piece.channel].has_beat(now_);
      out_.rid = piece.id;
      out_.rlast = piece.last && read_count_ == piece.beats - 1;
    }
    out_.wready = !routes_.empty() && !channels_[routes_.front().channel].full(now_, waiting_);
    here_ = !ends_.empty() && channels_[ends_.front().channel].answers(now_);
    out_.bvalid = here_ && ends_.front().last;
    if (here_) out_.bid = ends_.front().id;
    return out_;
  }

  void step(const MemoryIn& in) {
    if (read_next_) channels_[read_pieces_.channel()].ask_read(asked(read_pieces_));
    if (write_next_) channels_[write_pieces_.channel()].ask_write(asked(write_pieces_));
    if (here_) channels_[ends_.front().channel].take_answer();
    take_beats(in);
    give_beats(in);
    if (here_) ends_.pop();
    if (read_next_) reads_.push(piece(read_pieces_));
    if (write_next_) routes_.push(piece(write_pieces_)), ends_.push(piece(write_pieces_));
    read_pieces_.step(read_next_, in.arvalid && out_.arready, in.araddr, in.arbeats, in.arid);
    write_pieces_.step(write_next_, in.awvalid && out_.awready, in.awaddr, in.awbeats, in.awid);
    ++now_;
    if (!kLeaps) settle();
  }

  // For how many cycles nothing happens unless a burst comes; so many pass.
  int64_t rest() const {
    const bool asked = read_pieces_.active || write_pieces_.active;
    return asked || !reads_.empty() || !routes_.empty() || !ends_.empty() ? 0 : kNever;
  }
  void pass(int64_t cycles) { now_ += cycles; }

  // All that has happened is counted.
  void settle() {
    for (Channel& channel : channels_) channel.follow(now_);
  }

 private:
  static Piece piece(const Pieces& from) {
    return {from.channel(), from.id, from.beats(), from.last()};
  }
  Asked asked(const Pieces& pieces) const {
    return {true, pieces.address() / hbm_.beat_bytes, pieces.beats() * parts_};
  }

  // Write beats to the channel of their piece.
  void take_beats(const MemoryIn& in) {
    if (!in.wvalid || !out_.wready) return;
    const Piece& route = routes_.front();
    channels_[route.channel].give_beat({in.used_from, in.used_to, now_});
    if (++write_count_ == route.beats) write_count_ = 0, routes_.pop();
  }

  // Read beats to the core, in the order of the requests.
  void give_beats(const MemoryIn& in) {
    if (!out_.rvalid || !in.rready) return;
    channels_[reads_.front().channel].take_beat(now_);
    if (++read_count_ == reads_.front().beats) read_count_ = 0, reads_.pop();
  }

  const Hbm& hbm_;
  const Places places_;
  Pieces read_pieces_, write_pieces_;
  const int64_t parts_, waiting_;
  std::vector<Channel> channels_;
  Ring<Piece, 1024> reads_, routes_, ends_;
  MemoryOut out_{};
  int64_t now_ = 0, read_count_ = 0, write_count_ = 0;
  bool read_next_ = false, write_next_ = false, here_ = false;
};

}  // namespace cycle
