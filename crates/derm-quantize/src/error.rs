/// Why a network was not quantised.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are operators on 8-bit numbers in it.
    #[error(
        "the network is already quantised: it has {0}. Give the float file that it was made of"
    )]
    AlreadyQuantized(String),
    /// The file's version of the standard has no scale for each channel.
    #[error(
        "the file has opset {0}; scales for each channel begin with 13. Export it again with opset 13 or a later one"
    )]
    Opset(i64),
    /// Nothing to quantise.
    #[error(
        "nothing to quantise: no Conv, Gemm or MatMul of constant float weights leads to the scores"
    )]
    NoProducts,
    /// There are no pictures to calibrate on.
    #[error("no picture to calibrate on")]
    NoPictures,
    /// A value is infinite or not a number on a calibration picture.
    #[error("the value {0:?} is infinite or not a number on a calibration picture")]
    NotFinite(String),
    /// Too many answers change, whichever layers stay in float.
    #[error(
        "{found:.4} of the pictures have another most probable class even with {kept} layers in float; {allowed} is \
         allowed (--max-drop)"
    )]
    Budget {
        /// Share of the pictures.
        found: f64,
        /// Share allowed.
        allowed: f64,
        /// Layers in float.
        kept: usize,
    },
    /// The constants of the graph could not be computed.
    #[error("the graph's constants cannot be computed: {0}")]
    Constants(String),
    /// A tensor of the file is malformed.
    #[error(transparent)]
    File(#[from] derm_onnx::Error),
    /// The network cannot be loaded or run.
    #[error(transparent)]
    Model(#[from] derm_model::Error),
    /// The network could not be written to be run.
    #[error("a temporary file: {0}")]
    Temporary(#[from] std::io::Error),
}
