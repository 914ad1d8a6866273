//! File formats: NumPy `.npy` and PNG.

use super::Heatmap;

/// Encodes the values as a NumPy `.npy` file, float32, `[rows, columns]`
/// (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>, version 1.0).
pub fn encode_npy(heatmap: &Heatmap) -> Vec<u8> {
    let (rows, columns) = heatmap.values().dim();
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    // Magic, version, length and header, padded so that the numbers begin at a multiple of 64.
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{header:<width$}\n", width = length - 1).bytes());
    bytes.extend(heatmap.values().iter().flat_map(|value| value.to_le_bytes()));
    bytes
}

/// Encodes 8-bit pixels as PNG with fast compression: `samples` holds 1 (grey), 3 (RGB) or 4 (RGBA)
/// bytes per pixel.
pub fn encode_png(width: u32, height: u32, samples: &[u8]) -> Vec<u8> {
    let color = match samples.len() / (width as usize * height as usize).max(1) {
        1 => png::ColorType::Grayscale,
        4 => png::ColorType::Rgba,
        _ => png::ColorType::Rgb,
    };
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_compression(png::Compression::Fast);
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(samples))
        .expect("writing into memory, of the size that the header says");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn npy_has_its_header_and_values() {
        let heatmap = Heatmap::from_map(ndarray::array![[1.0, 0.0]]);
        let bytes = encode_npy(&heatmap);
        assert_eq!((bytes.len() - 8) % 64, 0);
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
        assert!(String::from_utf8_lossy(&bytes).contains("'shape': (1, 2)"));
        assert_eq!(bytes[bytes.len() - 8..], [1f32.to_le_bytes(), 0f32.to_le_bytes()].concat());
    }

    #[test]
    fn png_round_trips() {
        let samples: Vec<u8> = (0..8 * 4 * 4).collect();
        let decoded = image::load_from_memory(&encode_png(8, 4, &samples)).unwrap();
        assert_eq!(decoded.into_rgba8().into_raw(), samples);
    }
}
