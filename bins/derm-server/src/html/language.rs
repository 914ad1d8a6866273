//! The language of a page.

use super::strings::{ENGLISH, Strings, VIETNAMESE};
use actix_web::HttpRequest;
use actix_web::http::header::{ACCEPT_LANGUAGE, AcceptLanguage, Header, Quality};
use std::cmp::Reverse;

/// Bytes of `Accept-Language` that are read at most; browsers send a tenth. A longer header is ignored.
const LONGEST: usize = 1 << 10;

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Vietnamese,
}

impl Language {
    const ALL: [Language; 2] = [Language::English, Language::Vietnamese];

    /// Language negotiation: the language that was asked for, else the one that the browser prefers, else English.
    pub(crate) fn of(request: &HttpRequest, asked: Option<&str>) -> Language {
        let asked = asked.and_then(Language::with_tag);
        asked.or_else(|| preferred(&accepted(request)?)).unwrap_or(Language::English)
    }

    /// The language of a tag such as `vi` or `vi-VN`.
    fn with_tag(tag: &str) -> Option<Language> {
        let primary = tag.trim().split('-').next()?;
        Language::ALL.into_iter().find(|language| primary.eq_ignore_ascii_case(language.code()))
    }

    /// ISO 639-1.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Vietnamese => "vi",
        }
    }

    pub(super) fn strings(self) -> &'static Strings {
        match self {
            Language::English => &ENGLISH,
            Language::Vietnamese => &VIETNAMESE,
        }
    }
}

/// `Accept-Language`: the parsed header; none if it is long or not text. Ranges that are malformed are left out.
fn accepted(request: &HttpRequest) -> Option<AcceptLanguage> {
    let bytes: usize = request.headers().get_all(ACCEPT_LANGUAGE).map(|line| line.len()).sum();
    (bytes <= LONGEST).then(|| AcceptLanguage::parse(request).ok())?
}

/// Preferred language: the one of the highest quality, that of its own range, else of `*` (RFC 9110, 12.5.4). Of equal ones, the first
/// in the header; none where all are refused (`q=0`) or absent.
fn preferred(accepted: &AcceptLanguage) -> Option<Language> {
    // Of each range its rank, and what it matches: None is `*`, Some(None) a language that the page does not have.
    let ranges = accepted.iter().enumerate().map(|(index, range)| {
        let matched = range.item.item().map(|tag| Language::with_tag(tag.as_str()));
        ((range.quality, Reverse(index)), matched)
    });
    let best = |wanted: Option<Option<Language>>| {
        ranges.clone().filter(|(_, matched)| *matched == wanted).map(|(rank, _)| rank).max()
    };
    let any = best(None);
    let ranked = Language::ALL.into_iter().filter_map(|language| {
        let rank = best(Some(Some(language))).or(any)?;
        (rank.0 > Quality::ZERO).then_some((Reverse(rank), language))
    });
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, language)| language)
}

#[cfg(test)]
mod tests {
    use super::Language::{English, Vietnamese};
    use super::*;
    use actix_web::test::TestRequest;

    fn of(asked: Option<&str>, lines: &[&[u8]]) -> Language {
        let mut request = TestRequest::default();
        for line in lines {
            request = request.append_header((ACCEPT_LANGUAGE, *line));
        }
        Language::of(&request.to_http_request(), asked)
    }

    #[test]
    fn what_was_asked_for_is_before_what_the_browser_prefers() {
        assert_eq!(of(Some("vi"), &[b"en"]), Vietnamese);
        assert_eq!(of(Some("en-GB"), &[b"vi"]), English);
        assert_eq!(of(Some("xx"), &[b"vi"]), Vietnamese);
        assert_eq!(of(Some("xx"), &[]), English);
    }

    #[test]
    fn the_language_of_the_highest_quality_is_taken() {
        let cases: [(&[u8], Language); 18] = [
            (b"fr-FR, vi-VN;q=0.8, en;q=0.5", Vietnamese),
            (b"en;q=0.5, vi;q=0.9", Vietnamese),
            (b"vi;q=0.5, en-US;q=0.9", English),
            (b"vi, en", Vietnamese),
            (b"en;q=0.7, vi;q=0.7", English),
            (b"VI-vn", Vietnamese),
            (b"vie", English),
            // Refused.
            (b"vi;q=0", English),
            (b"vi;q=0.000, en;q=0.1", English),
            (b"en;q=0, *;q=0.5", Vietnamese),
            (b"en;q=0, vi;q=0, *", English),
            // Any.
            (b"*", English),
            (b"fr, *;q=0.1", English),
            (b"vi;q=0.2, *;q=0.1", Vietnamese),
            (b"vi;q=0.2, *;q=0.8", English),
            // Malformed: these ranges alone do not count.
            (b"en;q=2, vi;q=0.1", Vietnamese),
            (b"en;q=high, ;;;, -, vi ; q=0.1", Vietnamese),
            (b",,, ,", English),
        ];
        for (header, expected) in cases {
            let text = String::from_utf8_lossy(header);
            assert_eq!(of(None, &[header]), expected, "{text}");
        }
    }

    #[test]
    fn several_lines_are_one_header() {
        assert_eq!(of(None, &[b"en;q=0.1", b"vi"]), Vietnamese);
    }

    #[test]
    fn a_header_that_is_no_text_or_long_is_ignored() {
        assert_eq!(of(None, &[b"vi, \xff"]), English);
        let ranges = |count: usize| "vi,".repeat(count).into_bytes();
        assert_eq!(of(None, &[&ranges(LONGEST / 3)]), Vietnamese);
        assert_eq!(of(None, &[&ranges(LONGEST)]), English);
        assert_eq!(of(None, &[&ranges(LONGEST / 4), &ranges(LONGEST / 4)]), English);
    }
}
