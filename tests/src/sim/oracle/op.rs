//! What is before what.

/// Turns of the broker are counted.
pub(crate) type Turn = u64;

/// What the broker does by itself belongs to no connection.
pub(super) const NOBODY: usize = usize::MAX;

/// Something that happened between two turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    pub(super) conn: usize,
    /// Orders what happens on one connection.
    pub(super) order: u64,
    /// Not before this turn.
    pub(super) from: Turn,
    /// Not after this one; `None` if it has perhaps not happened yet, and perhaps never will.
    pub(super) to: Option<Turn>,
}

impl Op {
    /// Whether it was over when the other began.
    pub(super) fn surely_before(&self, other: &Self) -> bool {
        self.to.is_some_and(|to| to < other.from)
            || (self.conn == other.conn && self.conn != NOBODY && self.order < other.order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(conn: usize, order: u64, from: Turn, to: Option<Turn>) -> Op {
        Op {
            conn,
            order,
            from,
            to,
        }
    }

    #[test]
    fn what_happens_in_one_turn_has_no_order_but_on_one_connection() {
        let first = op(1, 1, 5, Some(5));
        assert!(!first.surely_before(&op(2, 2, 5, Some(5))));
        assert!(first.surely_before(&op(1, 2, 5, Some(5))));
        assert!(first.surely_before(&op(2, 2, 6, None)));
        assert!(!op(1, 1, 5, None).surely_before(&op(2, 2, 6, None)));
        assert!(!op(NOBODY, 1, 5, Some(5)).surely_before(&op(NOBODY, 2, 5, Some(5))));
    }
}
