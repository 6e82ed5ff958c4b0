-- The cheapest system call there is, again and again, for sysbench. LuaJIT calls the C library's function directly.
local ffi = require("ffi")
ffi.cdef [[
int getppid(void);
]]
local CALLS = 1000 -- an event: planning/evaluation/benchmarks.py knows it

function event()
   for _ = 1, CALLS do
      ffi.C.getppid()
   end
end
