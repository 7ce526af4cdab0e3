//! Who judges a shard's events.

/// What a scanner says of itself when figures are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScannerFigures {
    /// `fast`, `exact` or `simd-json`; empty before the first look. Of several shards that of the first.
    pub name: &'static str,
    /// Vector units in use, as `RINGMILL_SIMD` names them; `None`: the scanner has no choice of them.
    pub kernel: Option<&'static str>,
    /// Events that the kernel did not vouch for, and the exact judge was asked about.
    pub second_looks: u64,
}

impl ScannerFigures {
    /// Adds another shard's.
    pub fn merge(&mut self, other: &ScannerFigures) {
        if self.name.is_empty() {
            (self.name, self.kernel) = (other.name, other.kernel);
        }
        self.second_looks += other.second_looks;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up_under_one_name() {
        let fast = ScannerFigures { name: "fast", kernel: Some("avx2"), second_looks: 3 };
        let mut sum = ScannerFigures::default();
        [fast, fast].iter().for_each(|figures| sum.merge(figures));
        assert_eq!(sum, ScannerFigures { second_looks: 6, ..fast });
    }
}
