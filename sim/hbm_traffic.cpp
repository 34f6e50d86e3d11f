// Random traffic on one HBM controller, its device behind it; called from Python (sim/hbm_traffic.py).
//
// Requests are AXI4 bursts, issued in order, reads and writes apart. One that touches a column of
// another that is under way, unless both are reads, waits for it: so every read has one right
// answer, which a shadow memory knows. Runs until all are answered or something is wrong.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "VHbmController.h"
#include "hbm_device.h"
#include "layout.h"  // kColumnBytes of the memory's columns, and how addresses become places
#include "verilated.h"

namespace {

constexpr int kBeat = hbm::kBeatBytes;
constexpr uint64_t kWaiting = ~0ull;

struct Request {
  uint64_t address;
  uint64_t not_before;  // cycle
  uint32_t beats;
  uint16_t id;
  uint8_t write;
  uint8_t partial;  // writes: strobes are random
};

struct Settings {
  uint32_t most_reads, most_writes;  // under way
  uint32_t stall;                    // of 1000 cycles in which a response is not taken
  uint32_t seed;
  uint32_t ecc;  // memory has check bits
  uint64_t max_cycles;
};

struct Result {
  uint64_t cycles;
  char error[512];
  hbm::Counters counters;
  uint64_t events[EVENTS];  // as the controller reports them
  uint64_t latencies;       // sum of the bursts' latencies that it reports
};

class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed * 2 + 1) {}
  uint32_t next() {
    state_ ^= state_ << 13, state_ ^= state_ >> 7, state_ ^= state_ << 17;
    return static_cast<uint32_t>(state_ >> 16);
  }

 private:
  uint64_t state_;
};

// What one direction has: requests not yet issued, and under way.
struct Lane {
  std::vector<uint32_t> requests;
  size_t issued = 0;
  std::deque<uint32_t> pending;  // in the order in which they were issued
  uint32_t most = 1;
};

class Traffic {
 public:
  Traffic(VHbmController& dut, const Request* requests, uint32_t count, const Settings& settings,
          uint8_t* shadow, uint64_t size, uint64_t* issued, uint64_t* first, uint64_t* last)
      : dut_(dut), requests_(requests), settings_(settings), shadow_(shadow),
        readers_(size / hbm::kColumnBytes), writers_(size / hbm::kColumnBytes), issued_(issued),
        first_(first),
        last_(last), dice_(settings.seed) {
    reads_.most = settings.most_reads, writes_.most = settings.most_writes;
    for (uint32_t i = 0; i < count; ++i)
      (requests[i].write ? writes_ : reads_).requests.push_back(i);
  }

  bool done() const {
    return reads_.issued == reads_.requests.size() && reads_.pending.empty() &&
           writes_.issued == writes_.requests.size() && writes_.pending.empty();
  }

  const std::string& error() const { return error_; }

  void drive(uint64_t now) {
    if (!dut_.axi_arvalid) offer(reads_, now);
    if (!dut_.axi_awvalid) offer(writes_, now);
    if (!dut_.axi_wvalid) offer_beat();
    dut_.axi_rready = dice_.next() % 1000 >= settings_.stall;
    dut_.axi_bready = dice_.next() % 1000 >= settings_.stall;
  }

  void sample(uint64_t now) {
    took_ar_ = dut_.axi_arvalid && dut_.axi_arready;
    took_aw_ = dut_.axi_awvalid && dut_.axi_awready;
    took_w_ = dut_.axi_wvalid && dut_.axi_wready;
    if (dut_.axi_rvalid && dut_.axi_rready) take_beat(now);
    if (dut_.axi_bvalid && dut_.axi_bready) take_response(now);
  }

  // After the clock edge.
  void advance() {
    if (took_ar_) dut_.axi_arvalid = 0;
    if (took_aw_) dut_.axi_awvalid = 0;
    if (took_w_) dut_.axi_wvalid = 0;
  }

 private:
  void offer(Lane& lane, uint64_t now) {
    if (lane.issued == lane.requests.size() || lane.pending.size() >= lane.most) return;
    const uint32_t index = lane.requests[lane.issued];
    const Request& request = requests_[index];
    if (request.not_before > now || meets(request)) return;
    ++lane.issued;
    lane.pending.push_back(index);
    issued_[index] = now;
    claim(request, 1);
    const int size = __builtin_ctz(kBeat);
    if (request.write) {
      dut_.axi_awvalid = 1, dut_.axi_awaddr = request.address, dut_.axi_awlen = request.beats - 1;
      dut_.axi_awid = request.id, dut_.axi_awsize = size, dut_.axi_awburst = 1;
      beats_.push_back({index, 0});
    } else {
      dut_.axi_arvalid = 1, dut_.axi_araddr = request.address, dut_.axi_arlen = request.beats - 1;
      dut_.axi_arid = request.id, dut_.axi_arsize = size, dut_.axi_arburst = 1;
    }
  }

  uint64_t column(const Request& request, bool end) const {
    return (request.address + (end ? kBeat * request.beats - 1 : 0)) / hbm::kColumnBytes;
  }

  // Another request that is under way has a column in common with it.
  bool meets(const Request& request) const {
    for (uint64_t c = column(request, false); c <= column(request, true); ++c)
      if (writers_[c] || (request.write && readers_[c])) return true;
    return false;
  }

  void claim(const Request& request, int by) {
    for (uint64_t c = column(request, false); c <= column(request, true); ++c)
      (request.write ? writers_ : readers_)[c] += by;
  }

  // The next beat to be written; the shadow gets it at once, as nobody may look before the answer.
  void offer_beat() {
    if (beats_.empty()) return;
    auto& [index, beat] = beats_.front();
    const Request& request = requests_[index];
    uint32_t words[kBeat / 4];
    for (uint32_t& word : words) word = dice_.next();
    const uint32_t strobes = request.partial ? dice_.next() & 0xFFFF : 0xFFFF;
    std::memcpy(&dut_.axi_wdata, words, kBeat);
    dut_.axi_wstrb = strobes, dut_.axi_wvalid = 1, dut_.axi_wlast = beat + 1 == request.beats;
    uint8_t* at = shadow_ + request.address + kBeat * beat;
    for (int i = 0; i < kBeat; ++i)
      if (strobes >> i & 1) at[i] = reinterpret_cast<uint8_t*>(words)[i];
    if (++beat == request.beats) beats_.pop_front();
  }

  void take_beat(uint64_t now) {
    auto found = std::find_if(reads_.pending.begin(), reads_.pending.end(),
                              [&](uint32_t i) { return requests_[i].id == dut_.axi_rid; });
    if (found == reads_.pending.end()) return fail("a beat that nobody asked for", now);
    const Request& request = requests_[*found];
    uint32_t& beat = read_beats_[dut_.axi_rid];
    if (beat == 0) first_[*found] = now - issued_[*found];
    if (dut_.axi_rresp) fail("a read is refused", now);
    const uint8_t* want = shadow_ + request.address + kBeat * beat;
    if (std::memcmp(want, &dut_.axi_rdata, kBeat)) fail("a beat has other data", now);
    const bool last = ++beat == request.beats;
    if (last != dut_.axi_rlast) fail("the end of a burst is marked elsewhere", now);
    if (!last) return;
    beat = 0, last_[*found] = now;
    claim(request, -1);
    reads_.pending.erase(found);
  }

  void take_response(uint64_t now) {
    auto found = std::find_if(writes_.pending.begin(), writes_.pending.end(),
                              [&](uint32_t i) { return requests_[i].id == dut_.axi_bid; });
    if (found == writes_.pending.end()) return fail("a response that nobody waits for", now);
    if (dut_.axi_bresp) fail("a write is refused", now);
    for (const auto& [index, beat] : beats_)
      if (index == *found) fail("a response before the data", now);
    first_[*found] = now - issued_[*found], last_[*found] = now;
    claim(requests_[*found], -1);
    writes_.pending.erase(found);
  }

  void fail(const char* what, uint64_t now) {
    if (error_.empty()) error_ = std::string(what) + " in cycle " + std::to_string(now);
  }

  VHbmController& dut_;
  const Request* const requests_;
  const Settings settings_;
  uint8_t* const shadow_;
  std::vector<uint16_t> readers_, writers_;  // under way, for each column
  uint64_t* const issued_;
  uint64_t* const first_;
  uint64_t* const last_;
  Dice dice_;
  Lane reads_, writes_;
  std::deque<std::pair<uint32_t, uint32_t>> beats_;  // (request, next beat) to be written
  uint32_t read_beats_[1 << 16] = {};                // of the oldest burst of each id
  bool took_ar_ = false, took_aw_ = false, took_w_ = false;
  std::string error_;
};

struct Model {
  VerilatedContext context;
  VHbmController dut{&context, "HbmController"};

  void half(int clock) {
    dut.clk = clock;
    dut.eval();
    context.timeInc(1);
  }
};

}  // namespace

#define JX_API __attribute__((visibility("default")))

// Returns 0 when all requests are answered and nothing was wrong. ``issued``: its cycle;
// ``first``: cycles from there to the first beat (writes: to the response); ``last``: the cycle of
// the last beat, or of the response.
extern "C" JX_API int jx_traffic(const Request* requests, uint32_t count, const Settings* settings,
                                 const hbm::Timing* timing, uint32_t rows, uint8_t* memory,
                                 uint8_t* shadow, uint64_t size, uint64_t* issued,
                                 uint64_t* first, uint64_t* last, Result* result) {
  auto model = std::make_unique<Model>();
  VHbmController& dut = model->dut;
  const auto column_of = [=](uint32_t bank, uint32_t row, uint32_t column) -> uint8_t* {
    const uint64_t address = column_address(0, bank, row, column);
    return address < size ? memory + address : nullptr;
  };
  hbm::Device device(*timing, rows, column_of, settings->seed, settings->ecc != 0);
  auto traffic = std::make_unique<Traffic>(dut, requests, count, *settings, shadow, size,
                                           issued, first, last);
  dut.memory_columns = size / hbm::kColumnBytes;
  dut.rst = 1;
  for (int i = 0; i < 2; ++i) model->half(0), model->half(1);
  dut.rst = 0;
  uint64_t now = 0;
  std::string error;
  uint64_t after = 0;  // cycles since all were answered: the last writes' data come behind that
  for (; now < settings->max_cycles && after < hbm::kWindow && error.empty(); ++now) {
    after = traffic->done() ? after + 1 : 0;
    if (after <= 1) result->counters = device.counters();
    std::memcpy(&dut.device_rdata, device.rdata().bytes, kBeat);
    std::memcpy(&dut.device_recc, device.rdata().checks, hbm::kWords);
    traffic->drive(now);
    model->half(0);
    traffic->sample(now);
    for (int event = 0; event < EVENTS; ++event) result->events[event] += dut.events >> event & 1;
    if (dut.answered) result->latencies += dut.latency;
    hbm::Commands commands{dut.device_row_cmd, dut.device_row_bank, dut.device_row_addr,
                           dut.device_col_cmd, dut.device_col_bank, dut.device_col_addr};
    hbm::WriteBeat write;
    std::memcpy(write.data.bytes, &dut.device_wdata, kBeat);
    std::memcpy(write.data.checks, &dut.device_wecc, hbm::kWords);
    write.mask = dut.device_wmask;
    device.tick(commands, write);
    model->half(1);
    traffic->advance();
    if (device.wrong())
      error = device.error();
    else if (!traffic->error().empty())
      error = traffic->error();
  }
  if (error.empty() && !traffic->done())
    error = "requests are left after " + std::to_string(now) + " cycles";
  result->cycles = now - after;
  std::snprintf(result->error, sizeof result->error, "%s", error.c_str());
  return !error.empty();
}
