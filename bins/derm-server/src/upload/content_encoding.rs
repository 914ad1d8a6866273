//! Content-Encoding: a compressed body, decompressed as it arrives and as far as it is read. Limits
//! are on the decompressed size.

use super::largest_body;
use crate::error::ApiError;
use crate::excerpt::quoted;
use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, HeaderMap};
use actix_web::web::{Buf, Bytes, Payload};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use futures_util::Stream;
use std::io::{self, BufRead, Read};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The encodings that are read, as `Accept-Encoding` lists them.
pub(crate) const READ: &str = "gzip, deflate";
/// Bytes that are decompressed at once.
const CHUNK: usize = 16 * 1024;

/// A body as a stream of its bytes, decompressed.
pub(super) type Decoded = Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>>;

/// The body without its Content-Encoding, and whether it has one: then the length that was announced
/// is not that of its bytes.
///
/// # Errors
/// [`ApiError::Encoding`]: one that is not read.
pub(super) fn decoded(
    headers: &HeaderMap,
    payload: Payload,
    max_upload: usize,
) -> Result<(Decoded, bool), ApiError> {
    let mut names = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        let listed = value.split(',').map(str::trim);
        names.extend(listed.filter(|n| !n.is_empty() && *n != "identity").map(str::to_owned));
    }
    let format = match &names.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => return Ok((Box::pin(payload), false)),
        ["gzip" | "x-gzip"] => Format::Gzip,
        ["deflate"] => Format::Deflate,
        names => return Err(ApiError::Encoding(quoted(&names.join(", ")))),
    };
    let input = Input { left: largest_body(max_upload), ..Input::default() };
    Ok((Box::pin(Decompressed { payload, decoder: Decoder::Unknown(format, input) }), true))
}

#[derive(Clone, Copy)]
enum Format {
    Gzip,
    /// The zlib format; some clients send bare deflate.
    Deflate,
}

/// What has arrived and is not decompressed yet.
#[derive(Default)]
struct Input {
    bytes: Bytes,
    has_ended: bool,
    /// Compressed bytes that may still arrive: they may decompress to nothing.
    left: usize,
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Input {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.bytes.is_empty() && !self.has_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(&self.bytes)
    }

    fn consume(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

enum Decoder {
    /// Before the first two bytes, which tell zlib from bare deflate.
    Unknown(Format, Input),
    Gzip(MultiGzDecoder<Input>),
    Zlib(ZlibDecoder<Input>),
    Deflate(DeflateDecoder<Input>),
}

impl Decoder {
    fn input(&mut self) -> &mut Input {
        match self {
            Decoder::Unknown(_, input) => input,
            Decoder::Gzip(decoder) => decoder.get_mut(),
            Decoder::Zlib(decoder) => decoder.get_mut(),
            Decoder::Deflate(decoder) => decoder.get_mut(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Decoder::Unknown(format, input) => {
                if input.bytes.len() < 2 && !input.has_ended {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let (format, input) = (*format, std::mem::take(input));
                *self = match format {
                    Format::Gzip => Decoder::Gzip(MultiGzDecoder::new(input)),
                    Format::Deflate if is_zlib(&input.bytes) => {
                        Decoder::Zlib(ZlibDecoder::new(input))
                    }
                    Format::Deflate => Decoder::Deflate(DeflateDecoder::new(input)),
                };
                self.read(buffer)
            }
            Decoder::Gzip(decoder) => decoder.read(buffer),
            Decoder::Zlib(decoder) => decoder.read(buffer),
            Decoder::Deflate(decoder) => decoder.read(buffer),
        }
    }
}

/// Whether bytes begin as the zlib format does (RFC 1950, section 2.2).
fn is_zlib(bytes: &[u8]) -> bool {
    match bytes {
        [cmf, flg, ..] => {
            cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flg)).is_multiple_of(31)
        }
        _ => false,
    }
}

struct Decompressed {
    payload: Payload,
    decoder: Decoder,
}

impl Stream for Decompressed {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut buffer = [0; CHUNK];
        loop {
            match self.decoder.read(&mut buffer) {
                Ok(0) => return Poll::Ready(None),
                Ok(count) => {
                    return Poll::Ready(Some(Ok(Bytes::copy_from_slice(&buffer[..count]))));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Some(Err(PayloadError::Io(error)))),
            }
            let arrived = ready!(Pin::new(&mut self.payload).poll_next(context)).transpose()?;
            let input = self.decoder.input();
            let Some(bytes) = arrived else {
                input.has_ended = true;
                continue;
            };
            let Some(left) = input.left.checked_sub(bytes.len()) else {
                return Poll::Ready(Some(Err(PayloadError::Overflow)));
            };
            input.left = left;
            input.bytes = if input.bytes.is_empty() {
                bytes
            } else {
                [&input.bytes[..], &bytes[..]].concat().into()
            };
        }
    }
}
