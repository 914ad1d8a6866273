//! Colour conversion to RGB, three bytes a pixel.

/// Pixels that are converted at once: a whole number of vectors.
const MANY: usize = 32;

/// YCbCr to RGB as in JFIF (ITU-T T.871), in 16-bit fixed point.
pub(super) fn to_rgb(y: &[u8], cb: &[u8], cr: &[u8], to: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        unsafe { avx2::to_rgb(y, cb, cr, to) };
        return;
    }
    pieces(y, cb, cr, to, |[red, green, blue], to| {
        let pixels = to.as_chunks_mut::<3>().0.iter_mut();
        for (((to, r), g), b) in pixels.zip(red).zip(green).zip(blue) {
            *to = [r, g, b];
        }
    });
}

/// Converts [`MANY`] pixels at a time; `interleave` writes the three colours.
#[inline(always)]
fn pieces(
    y: &[u8],
    cb: &[u8],
    cr: &[u8],
    to: &mut [u8],
    interleave: impl Fn([[u8; MANY]; 3], &mut [u8; 3 * MANY]),
) {
    let padded = |samples: &[u8]| {
        samples.try_into().unwrap_or_else(|_| {
            let mut whole = [0; MANY];
            whole[..samples.len()].copy_from_slice(samples);
            whole
        })
    };
    let sources = y.chunks(MANY).zip(cb.chunks(MANY)).zip(cr.chunks(MANY));
    for (to, ((y, cb), cr)) in to.chunks_mut(3 * MANY).zip(sources) {
        let colours = converted(&padded(y), &padded(cb), &padded(cr));
        match to.try_into() {
            Ok(to) => interleave(colours, to),
            Err(_) => {
                let mut whole = [0; 3 * MANY];
                interleave(colours, &mut whole);
                let length = to.len();
                to.copy_from_slice(&whole[..length]);
            }
        }
    }
}

#[inline(always)]
fn converted(y: &[u8; MANY], cb: &[u8; MANY], cr: &[u8; MANY]) -> [[u8; MANY]; 3] {
    const HALF: i32 = 1 << 15;
    let clamped = |value: i32| ((value + HALF) >> 16).clamp(0, 255) as u8;
    let mut rgb = [[0; MANY]; 3];
    for i in 0..MANY {
        let y = i32::from(y[i]) << 16;
        let (cb, cr) = (i32::from(cb[i]) - 128, i32::from(cr[i]) - 128);
        rgb[0][i] = clamped(y + 91_881 * cr);
        rgb[1][i] = clamped(y - 22_554 * cb - 46_802 * cr);
        rgb[2][i] = clamped(y + 116_130 * cb);
    }
    rgb
}

/// Interleaving byte by byte would take a third of the time of decoding a JPEG; nine shuffles do it
/// for sixteen pixels.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{MANY, pieces};
    use std::arch::x86_64::*;

    /// Bytes of a vector.
    const WIDE: usize = 16;

    /// For each vector of the result and each colour: the index of the source byte for each byte of
    /// the vector; 128: another colour's.
    const SHUFFLES: [[[u8; WIDE]; 3]; 3] = {
        let mut shuffle = [[[128; WIDE]; 3]; 3];
        let mut at = 0;
        while at < 3 * WIDE {
            shuffle[at / WIDE][at % 3][at % WIDE] = (at / 3) as u8;
            at += 1;
        }
        shuffle
    };

    #[target_feature(enable = "avx2")]
    pub(super) fn to_rgb(y: &[u8], cb: &[u8], cr: &[u8], to: &mut [u8]) {
        pieces(y, cb, cr, to, |colours, to| interleave(&colours, to));
    }

    #[target_feature(enable = "avx2")]
    fn interleave(colours: &[[u8; MANY]; 3], to: &mut [u8; 3 * MANY]) {
        for half in 0..MANY / WIDE {
            // SAFETY: each load reads 16 bytes of a colour's 32 or of a shuffle's 16; each store writes
            // 16 of the 96 bytes.
            unsafe {
                let load = |bytes: *const u8| _mm_loadu_si128(bytes.cast());
                let colours = colours.each_ref().map(|c| load(c.as_ptr().add(half * WIDE)));
                for (vector, shuffle) in SHUFFLES.iter().enumerate() {
                    let parts: [__m128i; 3] = std::array::from_fn(|colour| {
                        _mm_shuffle_epi8(colours[colour], load(shuffle[colour].as_ptr()))
                    });
                    let all = _mm_or_si128(_mm_or_si128(parts[0], parts[1]), parts[2]);
                    let at = (3 * half + vector) * WIDE;
                    _mm_storeu_si128(to.as_mut_ptr().add(at).cast(), all);
                }
            }
        }
    }

    #[cfg(test)]
    mod tests {
        #[test]
        #[expect(clippy::print_stdout, reason = "says that it was skipped")]
        fn as_the_definition() {
            if !is_x86_feature_detected!("avx2") {
                println!("SKIPPED: no AVX2");
                return;
            }
            let samples = |step: usize| (0..77).map(|i| (i * step) as u8).collect::<Vec<u8>>();
            let (y, cb, cr) = (samples(3), samples(11), samples(29));
            let mut found = vec![0; 3 * 77];
            // SAFETY: the processor has AVX2.
            unsafe { super::to_rgb(&y, &cb, &cr, &mut found) };
            for i in 0..77 {
                let [y, cb, cr] = [y[i], cb[i], cr[i]].map(f64::from);
                let (cb, cr) = (cb - 128.0, cr - 128.0);
                let rgb = [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb];
                for (found, expected) in found[3 * i..][..3].iter().zip(rgb) {
                    let off = f64::from(*found) - expected.clamp(0.0, 255.0);
                    assert!(off.abs() < 0.51, "{found} instead of {expected} at {i}");
                }
            }
        }
    }
}
