//! JPEGs that are unusual, damaged or cut short: shown as libjpeg shows them, with a warning, or
//! refused by name.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{bytes, decoded, difference, refused};
use derm_preprocess::{Error, Warning};

/// Index of a marker's first byte.
fn marker(file: &[u8], code: u8) -> usize {
    file.windows(2).position(|two| two == [0xff, code]).unwrap()
}

#[test]
fn sampling_factors_of_a_single_component_have_no_effect() {
    let file = bytes("grey.jpg");
    let (expected, _) = decoded(&file).unwrap();
    let factors = marker(&file, 0xc0) + 11;
    for value in [0x12, 0x21, 0x22, 0x41, 0x14, 0x44] {
        let mut changed = file.clone();
        changed[factors] = value;
        let (found, prepared) = decoded(&changed).unwrap();
        assert_eq!(found, expected, "factors {value:x}");
        assert!(prepared.warnings.is_empty());
    }
}

#[test]
fn coding_processes_that_are_not_read_are_named() {
    let file = bytes("baseline.jpg");
    let frame = marker(&file, 0xc0);
    for (code, name) in
        [(0xc3, "lossless"), (0xc9, "arithmetic"), (0xca, "arithmetic"), (0xc5, "hierarchical")]
    {
        let mut changed = file.clone();
        changed[frame + 1] = code;
        let error = refused(&changed);
        assert!(
            matches!(&error, Error::Unsupported { what, .. } if what.contains(name)),
            "{error}"
        );
    }
    let mut twelve_bits = file.clone();
    twelve_bits[frame + 4] = 12;
    let error = refused(&twelve_bits);
    assert!(error.to_string().contains("12 bits a sample"), "{error}");
}

#[test]
fn what_is_there_of_a_truncated_file_is_shown_with_a_warning() {
    for name in ["baseline.jpg", "subsampled.jpg", "full-chroma.jpg", "grey.jpg"] {
        let file = bytes(name);
        let (whole, _) = decoded(&file).unwrap();
        let cut = &file[..file.len() * 9 / 10];
        let (found, prepared) = decoded(cut).unwrap();
        let [Warning::Incomplete { percent }] = prepared.warnings[..] else {
            panic!("{name}: {:?}", prepared.warnings)
        };
        assert!((1..=30).contains(&percent), "{name}: {percent} %");
        let half = 3 * (whole.width() * whole.height() / 2) as usize;
        assert_eq!(found.as_raw()[..half], whole.as_raw()[..half], "{name}");
        assert_eq!(found.as_raw()[found.as_raw().len() - 3..], [128; 3], "{name}: not grey");
    }
}

#[test]
fn a_file_of_which_most_is_missing_is_refused() {
    for name in ["baseline.jpg", "progressive.jpg"] {
        let file = bytes(name);
        let start = marker(&file, 0xda);
        let error = refused(&file[..start + (file.len() - start) / 60]);
        assert!(matches!(error, Error::Undecodable { format: "JPEG", .. }), "{error}");
    }
}

#[test]
fn a_truncated_progressive_file_lacks_details() {
    let file = bytes("progressive.jpg");
    let (whole, _) = decoded(&file).unwrap();
    let (found, prepared) = decoded(&file[..file.len() * 3 / 4]).unwrap();
    assert_eq!(prepared.warnings, [Warning::Incomplete { percent: 0 }]);
    let off = difference(&found, &whole);
    assert!((0.01..10.0).contains(&off), "{off}");
}

#[test]
fn bytes_between_segments_are_skipped() {
    let file = bytes("baseline.jpg");
    let (expected, _) = decoded(&file).unwrap();
    for code in [0xdb, 0xc0, 0xc4, 0xda] {
        let at = marker(&file, code);
        let mut changed = file[..at].to_vec();
        changed.extend([0, 1, 2, 0xff, 0, 3]);
        changed.extend(&file[at..]);
        assert_eq!(decoded(&changed).unwrap().0, expected, "before {code:x}");
    }
}

#[test]
fn wrong_progression_parameters_of_a_sequential_scan_are_ignored() {
    let file = bytes("baseline.jpg");
    let (expected, _) = decoded(&file).unwrap();
    let parameters = marker(&file, 0xda) + 11;
    for values in [[0, 63, 1], [0, 0, 0], [1, 5, 0x13]] {
        let mut changed = file.clone();
        changed[parameters..parameters + 3].copy_from_slice(&values);
        assert_eq!(decoded(&changed).unwrap().0, expected, "{values:?}");
    }
}

#[test]
fn restart_markers_resynchronise() {
    let names = ["rst-extraneous-40.jpg", "rst-missing-interval.jpg", "cut-last-byte-of-data.jpg"];
    for name in names {
        let warnings = decoded(&bytes(name)).unwrap().1.warnings;
        assert!(!warnings.is_empty(), "{name}: no warning");
    }
    let warnings = decoded(&bytes("grey-2x2-restart.jpg")).unwrap().1.warnings;
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn a_progressive_file_without_a_quantisation_table_is_refused() {
    let mut file = bytes("progressive.jpg");
    while let Some(at) = file.windows(2).position(|two| two == [0xff, 0xdb]) {
        file[at + 1] = 0xe5;
    }
    let error = refused(&file);
    assert!(error.to_string().contains("a table is missing"), "{error}");
}

/// A JPEG of 8x8 grey pixels and three components, with a scan of each of these.
fn scans(components: &[u8]) -> Vec<u8> {
    let mut file = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    file.extend([1; 64]);
    file.extend([0xff, 0xc0, 0, 17, 8, 0, 8, 0, 8, 3]);
    (1..=3).for_each(|component| file.extend([component, 0x11, 0]));
    // Huffman tables of one code, 0: no DC difference; the end of the block.
    for class in [0, 0x10] {
        file.extend([0xff, 0xc4, 0, 20, class, 1]);
        file.extend([0; 16]);
    }
    for component in components {
        file.extend([0xff, 0xda, 0, 8, 1, *component, 0, 0, 63, 0, 0x3f]);
    }
    file.extend([0xff, 0xd9]);
    file
}

#[test]
fn a_component_without_a_scan_is_missing() {
    assert_eq!(decoded(&scans(&[1, 2, 3])).unwrap().1.warnings, []);
    for components in [&[1, 2][..], &[1, 1, 2], &[1, 2, 2, 1]] {
        let warnings = decoded(&scans(components)).unwrap().1.warnings;
        assert_eq!(warnings, [Warning::Incomplete { percent: 34 }], "{components:?}");
    }
    refused(&scans(&[1, 1, 1]));
}

/// Index of a file's last scan.
fn last_scan(file: &[u8]) -> usize {
    file.windows(2).rposition(|two| two == [0xff, 0xda]).unwrap()
}

#[test]
fn more_scans_than_a_picture_can_have_are_refused_before_the_first_is_decoded() {
    let file = bytes("progressive.jpg");
    let (first, last) = (marker(&file, 0xda), last_scan(&file));
    // Headers of scans without data, for one component: all coefficients refined, DC coefficients refined; and the last
    // scan of the file.
    let scans: [&[u8]; 3] = [
        &[0xff, 0xda, 0, 8, 1, file[first + 5], 0, 1, 63, 0x10],
        &[0xff, 0xda, 0, 8, 1, file[first + 5], 0, 0, 0, 0x10],
        &file[last..file.len() - 2],
    ];
    for (scan, count) in scans.into_iter().zip([100, 3000, 100]) {
        let mut bomb = file[..file.len() - 2].to_vec();
        (0..count).for_each(|_| bomb.extend(scan));
        bomb.extend([0xff, 0xd9]);
        // Past its deadline, decoding ends at the first row of blocks.
        let deadline = Some(std::time::Instant::now());
        let limits =
            derm_preprocess::Limits { max_bytes: bomb.len(), deadline, ..Default::default() };
        let picture = derm_preprocess::Picture::open(&bomb, &limits).unwrap();
        let error = picture.prepare(&derm_preprocess::Spec::square(16)).unwrap_err();
        assert!(error.to_string().contains("more scans"), "{error}");
    }
}

#[test]
fn scans_that_damaged_data_hides_are_counted_when_they_are_met() {
    let file = bytes("progressive.jpg");
    let (first, last) = (marker(&file, 0xda), last_scan(&file));
    // A restart interval of one block: the second block's restart skips the unknown marker, whose length covers the
    // scans.
    let scan = &file[last..file.len() - 2];
    let header = 2 + usize::from(file[first + 3]);
    let mut bomb = file[..first].to_vec();
    bomb.extend([0xff, 0xdd, 0, 4, 0, 1]);
    bomb.extend(&file[first..first + header + 8]);
    bomb.extend([0xff, 0x02, 0xff, 0xff]);
    (0..300).for_each(|_| bomb.extend(scan));
    bomb.extend([0xff, 0xd9]);
    let limits = derm_preprocess::Limits { max_bytes: bomb.len(), ..Default::default() };
    let picture = derm_preprocess::Picture::open(&bomb, &limits).unwrap();
    let error = picture.prepare(&derm_preprocess::Spec::square(16)).unwrap_err();
    assert!(error.to_string().contains("more scans"), "{error}");
}

#[test]
fn every_bit_of_every_coefficient_may_have_a_scan_of_its_own() {
    // A grey picture; its DC coefficients, then 63 coefficients bit by bit, all zero.
    let mut file = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    file.extend([1; 64]);
    file.extend([0xff, 0xc2, 0, 11, 8, 0, 8, 0, 8, 1, 1, 0x11, 0]);
    for class in [0, 0x10] {
        file.extend([0xff, 0xc4, 0, 20, class, 1]);
        file.extend([0; 16]);
    }
    for coefficient in 0..64 {
        for low in (0..14u8).rev() {
            let high = if low == 13 { 0 } else { low + 1 };
            file.extend([
                0xff,
                0xda,
                0,
                8,
                1,
                1,
                0,
                coefficient,
                coefficient,
                high << 4 | low,
                0x3f,
            ]);
        }
    }
    file.extend([0xff, 0xd9]);
    let (found, prepared) = decoded(&file).unwrap();
    assert_eq!(prepared.warnings, []);
    assert!(found.pixels().all(|pixel| pixel.0 == [128; 3]));
    // One more is too many.
    let end = file.len() - 2;
    let more = file[end - 11..end].to_vec();
    file.splice(end..end, more);
    assert!(refused(&file).to_string().contains("more scans"));
}
