//! The bundled model of `derm-server`: an EfficientNet-Lite0 that classifies dermoscopic pictures of pigmented lesions.
//!
//! For education and research, never a diagnosis. `MODEL_CARD.md` says how good it is, and on what data; `LICENSE`, under
//! which terms its weights may be used.

/// The network: an ONNX file with float16 weights.
pub const MODEL: &[u8] = include_bytes!("../model.onnx");

/// Its manifest, `model.toml`.
pub const MANIFEST: &str = include_str!("../model.toml");
