-- A pointer chase for sysbench: where each load goes is what the load before it brought, along one random cycle through the memory.
-- One cell every `stride` bytes; with a whole page as stride the cells lie on different lines of their pages, so that all sets of the caches are used.
local ffi = require("ffi")
ffi.cdef [[
void *mmap(void *, size_t, int, int, int, long);
int madvise(void *, size_t, int);
]]
local READ_WRITE, PRIVATE_ANONYMOUS = 3, 0x22
local HUGEPAGE, NOHUGEPAGE = 14, 15
local LINE = 64
local STEPS = 100000 -- loads an event: planning/evaluation/benchmarks.py knows it

sysbench.cmdline.options = {
   mib = { "MiB to walk through", 32 },
   stride = { "bytes from cell to cell", LINE },
   huge = { "1: ask for huge pages; 0: have none", 0 },
}
local cells, at

function thread_init()
   local bytes, stride = sysbench.opt.mib * 1048576, sysbench.opt.stride
   local memory = ffi.C.mmap(nil, bytes, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0)
   if ffi.cast("intptr_t", memory) == -1 then
      error("there is no memory for the chase")
   end
   ffi.C.madvise(memory, bytes, sysbench.opt.huge == 1 and HUGEPAGE or NOHUGEPAGE)
   cells = ffi.cast("uint32_t *", memory)
   local count = bytes / stride
   local lines = stride / LINE
   local function place(n)
      return (n * stride + (n % lines) * LINE) / 4
   end
   -- Sattolo's algorithm: one cycle through all cells
   local order = ffi.new("uint32_t[?]", count)
   for n = 0, count - 1 do
      order[n] = n
   end
   math.randomseed(1)
   for n = count - 1, 1, -1 do
      local other = math.random(0, n - 1)
      order[n], order[other] = order[other], order[n]
   end
   for n = 0, count - 1 do
      cells[place(n)] = place(order[n])
   end
   at = 0
end

function event()
   local cell = at
   for _ = 1, STEPS do
      cell = cells[cell]
   end
   at = cell
end
