//! Doubly linked lists through one table of nodes: a partition waits in at most one of them.
//!
//! Taking out of the middle must not cost a walk: a leader's whole queue moves when the leader does.

/// No node.
const NONE: u32 = u32::MAX;

/// A node's neighbours; it lies in the table of what is listed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    before: u32,
    after: u32,
}

impl Node {
    pub(super) const LOOSE: Node = Node { before: NONE, after: NONE };
}

/// What has a node.
pub(super) trait Listed {
    fn node(&mut self) -> &mut Node;
}

/// First and last of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    first: u32,
    last: u32,
}

impl List {
    pub(super) const EMPTY: List = List { first: NONE, last: NONE };

    pub(super) fn first(self) -> Option<usize> {
        (self.first != NONE).then_some(self.first as usize)
    }

    pub(super) fn push<T: Listed>(&mut self, table: &mut [T], index: usize) {
        *table[index].node() = Node { before: self.last, after: NONE };
        match self.last {
            NONE => self.first = index as u32,
            last => table[last as usize].node().after = index as u32,
        }
        self.last = index as u32;
    }

    /// `index` must be in this list.
    pub(super) fn remove<T: Listed>(&mut self, table: &mut [T], index: usize) {
        let Node { before, after } = core::mem::replace(table[index].node(), Node::LOOSE);
        match before {
            NONE => self.first = after,
            before => table[before as usize].node().after = after,
        }
        match after {
            NONE => self.last = before,
            after => table[after as usize].node().before = before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Listed for Node {
        fn node(&mut self) -> &mut Node {
            self
        }
    }

    fn all(list: &List, table: &[Node]) -> std::vec::Vec<u32> {
        let mut seen = std::vec::Vec::new();
        let mut at = list.first;
        while at != NONE {
            seen.push(at);
            at = table[at as usize].after;
        }
        seen
    }

    #[test]
    fn keeps_order_whatever_is_taken_out() {
        let mut table = [Node::LOOSE; 4];
        for (out, left) in [(0, [1, 2, 3]), (1, [0, 2, 3]), (2, [0, 1, 3]), (3, [0, 1, 2])] {
            let mut list = List::EMPTY;
            (0..4).for_each(|index| list.push(&mut table, index));
            list.remove(&mut table, out);
            assert_eq!(all(&list, &table), left);
            list.push(&mut table, out);
            assert_eq!(list.last, out as u32);
        }
    }
}
