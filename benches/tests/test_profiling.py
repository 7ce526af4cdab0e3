"""Samples with a known place."""
import unittest

from ringbench import profiling

STACKS = [
    ("ringmill;run;ringmill::shard::driver::uring::turn;do_syscall_64;io_uring_enter;io_send;tcp_sendmsg;tcp_v4_rcv;sock_def_readable", 40),
    ("ringmill;run;ringmill_core::engine::http::take;ringmill_core::wire::http1::head::parse;httparse::parse_headers", 10),
    ("ringmill;run;ringmill_core::engine::http::take;ringmill_core::json::strict::check::<u8>;__memmove_avx", 20),
    ("ringmill;run;ringmill_core::engine::admit::append;ringmill_core::batch::Batch::append;memcpy", 5),
    ("ringmill;run;ringmill_core::engine::commit::next_io;ringmill_core::segment::header::write;sha2::compress", 4),
    ("iou-wrk-7;ret_from_fork;io_wq_worker;io_write;ext4_file_write_iter;blk_mq_submit_bio", 6),
    ("ringmill;run;ringmill_core::engine::settle::settle;ringmill_core::reply::write", 3),
    ("ringmill;run;ringmill_core::engine::Engine::receive", 2),
    ("ringmill;run;ringmill::shard::driver::uring::turn", 5),
    ("ringmill;run;do_syscall_64;io_cqring_wait;schedule", 4),
    ("ringmill;ringmill_core::json::of_no_stack;asm_exc_page_fault", 0),
    ("ringmill;start;read_tsc", 1),
]
HEAP = """heap_v2/1
  t*: 3: 320 [30: 3200]
  t0: 3: 320 [30: 3200]
@ 0x5010 0x5020 0x7f00
  t*: 2: 256 [20: 2560]
  t0: 2: 256 [20: 2560]
@ 0x5030
  t*: 1: 64 [10: 640]
  t0: 1: 64 [10: 640]

MAPPED_LIBRARIES:
4000-5000 r--p 00000000 fe:00 12   /opt/ringmill
5000-6000 r-xp 00001000 fe:00 12   /opt/ringmill
7000-8000 r-xp 00000000 fe:00 13   /lib/libc.so
"""


class Stages(unittest.TestCase):
    def setUp(self):
        self.stacks = [(stack.split(";"), count) for stack, count in STACKS]

    def test_each_stack_has_its_stage(self):
        expected = ["kernel TCP", "frame", "parse", "append", "sink", "sink", "reply", "engine", "driver", "kernel ring and waiting", "parse", "other"]
        self.assertEqual([profiling.stage_of(frames) for frames, _ in self.stacks], expected)

    def test_shares_add_up(self):
        shares = profiling.shares(self.stacks)
        self.assertAlmostEqual(sum(shares.values()), 1.0)
        self.assertAlmostEqual(shares["kernel TCP"], 0.40)
        self.assertAlmostEqual(shares["sink"], 0.10)
        self.assertEqual(list(shares)[:6], ["kernel TCP", "frame", "parse", "append", "sink", "reply"])
        self.assertEqual(set(profiling.shares([]).values()), {0.0})

    def test_the_table_names_the_hottest(self):
        table = profiling.stage_table(self.stacks)
        self.assertIn("| kernel TCP | 40.0 % | `sock_def_readable` |", table)
        self.assertEqual(profiling.shortened("<a::B<c::D<e>> as f::G>::h::{{closure}}"), "h")
        self.assertEqual(profiling.shortened("ringmill_core::json::strict::check::<u8>"), "strict::check")


class Heap(unittest.TestCase):
    def test_reads_sites_and_executable_mappings(self):
        sites, maps = profiling.heap(HEAP)
        self.assertEqual(sites, [([0x5010, 0x5020, 0x7F00], 2, 256, 20, 2560), ([0x5030], 1, 64, 10, 640)])
        self.assertEqual(maps, [(0x5000, 0x6000, 0x1000, "/opt/ringmill"), (0x7000, 0x8000, 0, "/lib/libc.so")])

    def test_folds_from_root_to_leaf_without_the_allocator(self):
        sites, _ = profiling.heap(HEAP)
        names = {0x5010: ["_rjem_malloc"], 0x5020: ["inner", "outer"], 0x5030: ["start"]}
        self.assertEqual(profiling.fold_heap(sites, names, lambda n: n[1]),
                         [(["ringmill", "outer", "inner"], 256), (["ringmill", "start"], 64)])


class Names(unittest.TestCase):
    def test_modules_come_from_files(self):
        for path, module in (("/w/src/core/json/strict.rs", "ringmill_core::json::strict"), ("/w/src/core/engine/mod.rs", "ringmill_core::engine"),
                             ("/b/src/shard/driver/uring.rs", "ringmill::shard::driver::uring"), ("/usr/include/string.h", ""),
                             ("/rustc/59807616/library/core/src/slice/index.rs", "core::slice::index"),
                             ("/home/a/.cargo/registry/src/index.crates.io-19/io-uring-0.7.15/src/submit.rs", "io_uring::submit"),
                             ("/w/benches/yardstick/src/bin/seed.rs", "yardstick::bin::seed"), ("??", "")):
            self.assertEqual(profiling.module_of(path), module, path)

    def test_inlined_functions_get_their_modules_and_the_symbol_goes_last(self):
        said = ("0x28458c\nringmill_core::engine::Hub<M,C>::pump\n/w/src/core/json/frame.rs:18\nscan<a::b::{closure_env#0}<c>>\n"
                "/w/src/core/json/strict.rs:359\npump<d>\n/w/src/core/engine/mod.rs:436 (discriminator 2)\n"
                "0x10\nmain\n/w/src/main.rs:2\n0x20\n??\n??:0\n")
        chains = [profiling.chain(places) for places in profiling.inlined(said)]
        self.assertEqual(chains[0], ["ringmill_core::json::frame:18", "ringmill_core::json::strict::scan", "ringmill_core::engine::Hub::pump"])
        self.assertEqual(chains[1:], [["ringmill::main::main"], ["??"]])
        self.assertEqual(profiling.stage_of(["t", *reversed(chains[0])]), "parse")

    def test_bare_names(self):
        for name, bare in (("a::settle::<impl b::Hub<M,C>>::write_reply", "a::settle::write_reply"), ("x::drive::{{closure}}", "x::drive"),
                           ("{async_fn#0}<a::B>", "closure"), ("a::b::h0123456789abcdef", "a::b"), ("tcp_sendmsg", "tcp_sendmsg")):
            self.assertEqual(profiling.bare(name), bare)


class Perf(unittest.TestCase):
    def test_reads_threads_and_frames(self):
        script = ("shard-0-1 \n\tffffffff820 tcp_sendmsg ([kernel.kallsyms])\n\t          277c0d ringmill::a::<B>::c (/opt/ringmill)\n"
                  "\tffffffffffffffff [unknown] ([unknown])\n\nmain thread \n\t 101829 syscall (/lib/libc.so.6)\n\nidle \n\n")
        self.assertEqual(profiling.samples(script), [
            ("shard-0-1", [(0xFFFFFFFF820, "tcp_sendmsg", "[kernel.kallsyms]"), (0x277C0D, "ringmill::a::<B>::c", "/opt/ringmill")]),
            ("main thread", [(0x101829, "syscall", "/lib/libc.so.6")])])

    def test_folds_equal_stacks_together(self):
        found = [("shard-0-1", [(1, "tcp_sendmsg", "k")]), ("shard-0-2", [(1, "tcp_sendmsg", "k")]), ("io", [(2, "b;c", "k"), (3, "a", "k")])]
        self.assertEqual(profiling.fold_samples(found, "/nowhere/binary"), [(["shard-0", "tcp_sendmsg"], 2), (["io", "a", "b,c"], 1)])


if __name__ == "__main__":
    unittest.main()
