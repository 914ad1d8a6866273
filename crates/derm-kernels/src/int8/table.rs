//! Functions of one 8-bit value, as tables of their 256 results.

/// The result for each value: any function of one value, with the scales of its operand and result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table(Box<[u8; 256]>);

impl Table {
    /// The table of a function.
    pub fn new(function: impl Fn(u8) -> u8) -> Table {
        Table(Box::new(std::array::from_fn(|value| function(value as u8))))
    }

    /// The result for a value.
    pub fn get(&self, value: u8) -> u8 {
        self.0[usize::from(value)]
    }

    /// This function, and then another.
    pub fn then(&self, next: &Table) -> Table {
        Table::new(|value| next.get(self.get(value)))
    }

    /// Whether it changes nothing.
    pub fn is_identity(&self) -> bool {
        (0..=255).all(|value| self.get(value) == value)
    }

    /// Applies it.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn apply(&self, input: &[u8], output: &mut [u8]) {
        assert_eq!(input.len(), output.len());
        // SAFETY: both are that long.
        unsafe { lookup(self, input.as_ptr(), output.as_mut_ptr(), input.len()) }
    }

    /// Applies it in place.
    pub fn apply_in_place(&self, values: &mut [u8]) {
        let start = values.as_mut_ptr();
        // SAFETY: the values are that many; each is read before it is written.
        unsafe { lookup(self, start, start, values.len()) }
    }
}

/// # Safety
/// `from` must be valid for `count` reads and `to` for as many writes; they may be the same.
#[inline(always)]
pub(super) unsafe fn lookup(table: &Table, from: *const u8, to: *mut u8, count: usize) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512vbmi") && is_x86_feature_detected!("avx512bw") {
        // SAFETY: the contract of this function; the machine has the features.
        return unsafe { lookup_vbmi(table, from, to, count) };
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        // SAFETY: the contract of this function; the machine has the feature.
        return unsafe { lookup_neon(table, from, to, count) };
    }
    // SAFETY: the contract of this function.
    unsafe { lookup_each(table, from, to, count) }
}

/// # Safety
/// As [`lookup`].
#[inline(always)]
unsafe fn lookup_each(table: &Table, from: *const u8, to: *mut u8, count: usize) {
    for index in 0..count {
        // SAFETY: the contract of this function.
        unsafe { to.add(index).write(table.get(from.add(index).read())) };
    }
}

/// # Safety
/// As [`lookup`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn lookup_vbmi(table: &Table, from: *const u8, to: *mut u8, count: usize) {
    use std::arch::x86_64::*;
    // SAFETY: the table has four vectors of 64 bytes; the masks leave out what is beyond `count`.
    unsafe {
        let part = |index: usize| _mm512_loadu_si512(table.0.as_ptr().add(64 * index).cast());
        let [a, b, c, d] = [part(0), part(1), part(2), part(3)];
        let mut done = 0;
        while done < count {
            let left = count - done;
            let mask = if left >= 64 { u64::MAX } else { (1 << left) - 1 };
            let values = _mm512_maskz_loadu_epi8(mask, from.add(done).cast());
            let lower = _mm512_permutex2var_epi8(a, values, b);
            let upper = _mm512_permutex2var_epi8(c, values, d);
            let result = _mm512_mask_blend_epi8(_mm512_movepi8_mask(values), lower, upper);
            _mm512_mask_storeu_epi8(to.add(done).cast(), mask, result);
            done += 64;
        }
    }
}

/// # Safety
/// As [`lookup`].
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn lookup_neon(table: &Table, from: *const u8, to: *mut u8, count: usize) {
    use std::arch::aarch64::*;
    // SAFETY: the table has four times 64 bytes; whole vectors lie before `count`, and the rest is looked up one by one.
    unsafe {
        let part = |index: usize| vld1q_u8_x4(table.0.as_ptr().add(64 * index));
        let [a, b, c, d] = [part(0), part(1), part(2), part(3)];
        let whole = count - count % 16;
        for done in (0..whole).step_by(16) {
            let values = vld1q_u8(from.add(done));
            // An index beyond 63 looks up 0, or leaves what there is.
            let within = |part: u8| veorq_u8(values, vdupq_n_u8(64 * part));
            let result = vqtbl4q_u8(a, values);
            let result = vqtbx4q_u8(result, b, within(1));
            let result = vqtbx4q_u8(result, c, within(2));
            vst1q_u8(to.add(done), vqtbx4q_u8(result, d, within(3)));
        }
        lookup_each(table, from.add(whole), to.add(whole), count - whole);
    }
}
