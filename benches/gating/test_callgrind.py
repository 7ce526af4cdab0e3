"""Known files and counts."""
import unittest

from gating import callgrind as c

FILE = """\
# callgrind format
version: 1
creator: callgrind-3.19.0
positions: line
events: Ir
summary: 160

fl=(1) a.rs
fn=(1) stages::main::h0123456789abcdef
10 5
+2 15
cfn=(2) ringmill_core::json::strict::value::hfedcba9876543210
calls=3 20
* 100

fn=(2)
20 90
fi=(2) b.rs
30 10
fe=(1)
-3 20
cfn=(1)
calls=1 10
* 20

fn=(3) memcpy@@GLIBC_2.14
* 20

totals: 160
"""


class Parse(unittest.TestCase):
    def test_own_costs_without_those_of_callees(self):
        total, own = c.parse(FILE)
        self.assertEqual(total, 160)
        self.assertEqual(own, {"stages::main": 20, "ringmill_core::json::strict::value": 120, "memcpy@@GLIBC_2.14": 20})
        self.assertEqual(sum(own.values()), total)

    def test_a_file_cut_short_is_refused(self):
        with self.assertRaises(ValueError):
            c.parse("events: Ir\nfn=(1) main\n10 5\n")

    def test_names(self):
        for name, plain in (("a::b::h0123456789abcdef", "a::b"), ("a[0123456789abcdef]::b'2", "a::b"), ("<&'a T>::c", "<&'a T>::c")):
            self.assertEqual(c.plain_name(name), plain)

    def test_dhat(self):
        self.assertEqual(c.copied("==1== \n==1== Total:     1,234,567 bytes in 89 blocks\n"), 1234567)
        with self.assertRaises(ValueError):
            c.copied("==1== killed")

    def test_small_functions_are_left_out(self):
        figures = c.per_unit(1000, {"big": 900, "edge": 10, "small": 9}, 10)
        self.assertEqual(figures, {"instructions": 100.0, "functions": {"big": 90.0, "edge": 1.0}})


def stage(instructions, allocations=0, copied=None, functions=None):
    return {"unit": "event", "instructions": instructions, "allocations": allocations, "copied": copied, "functions": functions or {}}


class Compare(unittest.TestCase):
    def check(self, before, now, kinds, words=()):
        found = c.compare({"parse": before} if before else {}, {"parse": now} if now else {})
        self.assertEqual([f.kind for f in found], kinds, found)
        for word in words:
            self.assertIn(word, found[0].text)

    def test_instructions(self):
        self.check(stage(1000), stage(1020), [])
        self.check(stage(1000), stage(980), [])
        self.check(stage(1000), stage(1021), ["fails"], ["1,000 → 1,021 instructions per event", "+2.1 %", "limit +2 %"])
        self.check(stage(1000), stage(970), ["gain"], ["-3.0 %"])

    def test_what_grew_is_named(self):
        before = stage(1000, functions={"a": 500, "b": 300, "gone": 200})
        now = stage(1500, functions={"a": 900, "b": 290, "new": 310})
        self.check(before, now, ["fails"], ["most of it in a (+400), new (+310)"])

    def test_allocations_and_copies_are_exact(self):
        self.check(stage(1, 0), stage(1, 0.01), ["fails"], ["0 → 0.01 allocations"])
        self.check(stage(1, 1), stage(1, 0), ["gain"])
        self.check(stage(1, 0, 400), stage(1, 0, 401), ["fails"], ["400 → 401 bytes copied"])
        self.check(stage(1, 0, None), stage(1, 0, 401), [])

    def test_stages_come_and_go(self):
        self.check(None, stage(1), ["new"])
        self.check(stage(1), None, ["gone"])

    def test_table(self):
        text = c.table({"parse": stage(1000)}, {"parse": stage(1010, 0, 12.5), "seal": stage(20)})
        self.assertIn("| parse | event | 1,010 | 1,000 | +1.00 % | 0 | 12.50 |", text)
        self.assertIn("| seal | event | 20 | – | – | 0 | – |", text)


if __name__ == "__main__":
    unittest.main()
