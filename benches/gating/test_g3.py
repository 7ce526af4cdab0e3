"""Where g3 plants its slowdowns: the places must exist, or the proof only fails after half an hour."""
import os
import unittest

from gating import g3, tree


class Places(unittest.TestCase):
    def test_each_anchor_stands_once_where_it_is_looked_for(self):
        for path, anchor in (g3.ENGINE, g3.DRIVER):
            with self.subTest(path), open(os.path.join(tree.ROOT, path)) as f:
                self.assertEqual(f.read().count(anchor), 1)


if __name__ == "__main__":
    unittest.main()
