// Behavioural models of the chip's SRAM macros. An ASIC flow replaces this file by wrappers of its
// memory compiler's macros, with the same module names, parameters, ports and timing.
// Rows start as zeros; an address at or beyond DEPTH reads as 0 and a write to it is dropped.

// Single port, 1 cycle of latency. rdata changes in read cycles only.
module jx_sram #(
  parameter WIDTH = 64,
  parameter DEPTH = 256,
  parameter GRANULE = WIDTH  // bits that one bit of `we` covers
) (
  input  logic                       clk,
  input  logic                       en,
  input  logic [WIDTH/GRANULE-1:0]   we,
  input  logic [$clog2(DEPTH)-1:0]   addr,
  input  logic [WIDTH-1:0]           wdata,
  output logic [WIDTH-1:0]           rdata
);
  logic [WIDTH-1:0] mem [0:DEPTH-1];
  logic valid;
  assign valid = 32'(addr) < DEPTH;

  integer i;
  initial begin
    for (i = 0; i < DEPTH; i = i + 1) mem[i] = {WIDTH{1'b0}};
    rdata = {WIDTH{1'b0}};
  end

  integer g;
  always_ff @(posedge clk) begin
    if (en && we == 0)
      rdata <= valid ? mem[addr] : {WIDTH{1'b0}};
    else if (en && valid) begin
      if (&we)  // the usual case, and a fast one in compiled simulators
        mem[addr] <= wdata;
      else
        for (g = 0; g < WIDTH / GRANULE; g = g + 1)
          if (we[g]) mem[addr][g*GRANULE +: GRANULE] <= wdata[g*GRANULE +: GRANULE];
    end
  end
endmodule

// One read and one write port, 1 cycle of latency. A row read while it is written returns the old.
module jx_sram_1r1w #(
  parameter WIDTH = 64,
  parameter DEPTH = 256
) (
  input  logic                       clk,
  input  logic                       ren,
  input  logic [$clog2(DEPTH)-1:0]   raddr,
  output logic [WIDTH-1:0]           rdata,
  input  logic                       wen,
  input  logic [$clog2(DEPTH)-1:0]   waddr,
  input  logic [WIDTH-1:0]           wdata
);
  logic [WIDTH-1:0] mem [0:DEPTH-1];

  integer i;
  initial begin
    for (i = 0; i < DEPTH; i = i + 1) mem[i] = {WIDTH{1'b0}};
    rdata = {WIDTH{1'b0}};
  end

  always_ff @(posedge clk) begin
    if (ren) rdata <= (32'(raddr) < DEPTH) ? mem[raddr] : {WIDTH{1'b0}};
    if (wen && 32'(waddr) < DEPTH) mem[waddr] <= wdata;
  end
endmodule
