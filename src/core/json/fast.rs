//! The scanners of `ringmill-scan` behind [`Scanner`].
use super::{Fields, Format, Found, Kernel, Progress, Scanner, ScannerFigures, Verdict};

/// Judges with one of the kernels; the exact judge has the last word on all that they do not vouch for.
pub struct FastScanner {
    scanner: ringmill_scan::Scanner,
}

impl FastScanner {
    /// With `kernel`, if this processor has it, else with the scalar one.
    pub fn new(kernel: Kernel) -> FastScanner {
        FastScanner { scanner: ringmill_scan::Scanner::new(kernel) }
    }

    /// The kernel in use.
    pub fn kernel(&self) -> Kernel {
        self.scanner.kernel()
    }

    /// Bytes that it takes, whatever it is fed.
    pub const fn memory_bytes() -> usize {
        size_of::<FastScanner>()
    }
}

impl Scanner for FastScanner {
    #[inline]
    fn scan(&mut self, body: &[u8], format: Format, mut each: impl FnMut(Verdict)) {
        self.scanner.scan(body, format, |verdict| each(verdict.into()));
    }

    #[inline]
    fn scan_fields(
        &mut self,
        body: &[u8],
        format: Format,
        fields: &Fields,
        mut each: impl FnMut(Verdict, &Found),
    ) {
        self.scanner.scan_fields(body, format, fields, |verdict, found| each(verdict.into(), found));
    }

    fn looks_ahead(&self) -> bool {
        self.kernel() != Kernel::Scalar
    }

    #[inline]
    fn advance(&mut self, progress: &mut Progress, body: &[u8], mut each: impl FnMut(Verdict)) {
        self.scanner.advance(progress, body, |verdict| each(verdict.into()));
    }

    #[inline]
    fn finish(&mut self, progress: &mut Progress, body: &[u8], mut each: impl FnMut(Verdict)) {
        self.scanner.finish(progress, body, |verdict| each(verdict.into()));
    }

    #[inline]
    fn advance_fields(
        &mut self,
        progress: &mut Progress,
        body: &[u8],
        fields: &Fields,
        mut each: impl FnMut(Verdict, &Found),
    ) {
        self.scanner.advance_fields(progress, body, fields, |verdict, found| each(verdict.into(), found));
    }

    #[inline]
    fn finish_fields(
        &mut self,
        progress: &mut Progress,
        body: &[u8],
        fields: &Fields,
        mut each: impl FnMut(Verdict, &Found),
    ) {
        self.scanner.finish_fields(progress, body, fields, |verdict, found| each(verdict.into(), found));
    }

    fn figures(&self) -> ScannerFigures {
        let (kernel, second_looks) = (Some(self.kernel().name()), self.scanner.second_looks());
        ScannerFigures { name: "fast", kernel, second_looks }
    }
}

/// Judges every event by the exact path alone, without memory. The oracle that faster scanners are held
/// against; on small events it is itself no slower than simd-json (`examples/scan.rs`).
#[derive(Debug, Default)]
pub struct StrictScanner {}

impl StrictScanner {
    /// A scanner without buffers.
    pub const fn new() -> StrictScanner {
        StrictScanner {}
    }
}

impl Scanner for StrictScanner {
    fn scan(&mut self, body: &[u8], format: Format, mut each: impl FnMut(Verdict)) {
        ringmill_scan::scan_exactly(body, format, |_| false, |verdict| each(verdict.into()));
    }

    fn figures(&self) -> ScannerFigures {
        ScannerFigures { name: "exact", ..ScannerFigures::default() }
    }
}
