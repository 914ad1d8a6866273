//! Headers of the parts of a multipart form, made ASCII: clients write file names in Latin-1 and
//! other encodings, which the parser refuses. File names are not used.

use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use actix_web::web::Bytes;
use futures_util::Stream;
use memchr::memchr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// What a byte of the header that is not ASCII becomes.
const REPLACEMENT: u8 = b'_';

/// A multipart body whose parts' headers are ASCII.
pub(super) struct AsciiHeaders<S> {
    body: S,
    scanner: Scanner,
}

impl<S> AsciiHeaders<S> {
    /// For a body with these headers.
    pub(super) fn new(headers: &HeaderMap, body: S) -> AsciiHeaders<S> {
        let boundary = boundary(headers).unwrap_or_default();
        let delimiter = [b"\r\n--", &boundary[..]].concat();
        // The first delimiter needs no line before it.
        AsciiHeaders { body, scanner: Scanner { delimiter, place: Place::Content(2) } }
    }
}

impl<S: Stream<Item = Result<Bytes, PayloadError>> + Unpin> Stream for AsciiHeaders<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = ready!(Pin::new(&mut self.body).poll_next(context));
        Poll::Ready(chunk.map(|chunk| chunk.map(|chunk| self.scanner.ascii(chunk))))
    }
}

/// The boundary that Content-Type names (RFC 2046, section 5.1.1).
fn boundary(headers: &HeaderMap) -> Option<Vec<u8>> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let parameter = |part: &str| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').into())
    };
    value.split(';').skip(1).find_map(parameter)
}

/// Where in the body a byte is; the number counts the bytes of the next mark that were found.
#[derive(Clone, Copy)]
enum Place {
    /// In a part's content, or before the first; up to the delimiter.
    Content(usize),
    /// Behind a delimiter, in the rest of its line.
    Delimiter,
    /// In a part's headers; up to an empty line.
    Headers(usize),
}

struct Scanner {
    delimiter: Vec<u8>,
    place: Place,
}

impl Scanner {
    /// The chunk with its headers made ASCII; copied only if that changes it.
    fn ascii(&mut self, chunk: Bytes) -> Bytes {
        let mut changed: Option<Vec<u8>> = None;
        let mut at = 0;
        while let Some(&byte) = chunk.get(at) {
            if matches!(self.place, Place::Content(0)) && byte != self.delimiter[0] {
                // Nothing of a picture's file is of interest but this byte.
                at += memchr(self.delimiter[0], &chunk[at..]).unwrap_or(chunk.len() - at);
                continue;
            }
            if matches!(self.place, Place::Headers(_)) && !byte.is_ascii() {
                changed.get_or_insert_with(|| chunk.to_vec())[at] = REPLACEMENT;
            }
            self.place = self.next(byte);
            at += 1;
        }
        changed.map_or(chunk, Bytes::from)
    }

    fn next(&self, byte: u8) -> Place {
        // A mark begins with the only kind of byte at which a search for it can begin anew.
        let found = |mark: &[u8], count: usize| {
            if byte == mark[count] { count + 1 } else { usize::from(byte == mark[0]) }
        };
        match self.place {
            Place::Content(count) => match found(&self.delimiter, count) {
                all if all == self.delimiter.len() => Place::Delimiter,
                count => Place::Content(count),
            },
            Place::Delimiter => match byte {
                b'\r' => Place::Headers(1),
                b' ' | b'\t' => Place::Delimiter,
                _ => Place::Content(0),
            },
            Place::Headers(count) => match found(b"\r\n\r\n", count) {
                4 => Place::Content(0),
                count => Place::Headers(count),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ascii(body: &[u8], chunk: usize) -> Vec<u8> {
        let place = Place::Content(2);
        let mut scanner = Scanner { delimiter: b"\r\n--B".to_vec(), place };
        let chunks = body.chunks(chunk).map(|chunk| scanner.ascii(Bytes::copy_from_slice(chunk)));
        chunks.collect::<Vec<_>>().concat()
    }

    #[test]
    fn headers_become_ascii_and_contents_stay() {
        let body =
            b"--B\r\nA: \xe9\xff\r\nB: \xe9\r\n\r\n\xff\xd8\r\n--Bx\xe9\r\n\r\n--\xe9\r\n--B \r\n\
                     A: \xe9\r\n\r\n\r\n\xe9\r\n--B--\r\n";
        let expected =
            b"--B\r\nA: __\r\nB: _\r\n\r\n\xff\xd8\r\n--Bx\xe9\r\n\r\n--\xe9\r\n--B \r\n\
                         A: _\r\n\r\n\r\n\xe9\r\n--B--\r\n";
        for chunk in 1..=body.len() {
            assert_eq!(ascii(body, chunk), expected, "{chunk}");
        }
    }

    #[test]
    fn the_boundary_is_found_as_clients_write_it() {
        for value in
            ["multipart/form-data; boundary=B", "multipart/form-data;charset=x; Boundary=\"B\""]
        {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(boundary(&headers).unwrap(), b"B");
        }
    }
}
