//! Pages: one template, two languages, and results rendered for browsers without JavaScript.

mod strings;

use crate::answer::Answer;
use actix_web::HttpRequest;
use actix_web::http::header::{ACCEPT, ACCEPT_LANGUAGE, HeaderMap};
use std::fmt::Write;

const TEMPLATE: &str = include_str!("page/index.html");

/// A language of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    English,
    Vietnamese,
}

impl Language {
    /// What was asked for, else what the browser prefers, else English.
    pub(crate) fn of(request: &HttpRequest, asked: Option<&str>) -> Language {
        let header = request.headers().get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        Language::choose(asked, header.unwrap_or(""))
    }

    fn choose(asked: Option<&str>, accepted: &str) -> Language {
        let known = |code: &str| {
            let code = code.trim().to_ascii_lowercase();
            match code.split(['-', ';']).next() {
                Some("vi") => Some(Language::Vietnamese),
                Some("en") => Some(Language::English),
                _ => None,
            }
        };
        let preferred = || accepted.split(',').find_map(known);
        asked.and_then(known).or_else(preferred).unwrap_or(Language::English)
    }

    /// ISO 639-1.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Language::English => "en",
            Language::Vietnamese => "vi",
        }
    }
}

/// The page, with `drawn` (HTML) in place of the result.
pub(crate) fn page(language: Language, drawn: &str) -> String {
    let mut page = TEMPLATE.replace("{{lang}}", language.code());
    for (name, text) in strings::all(language) {
        page = page.replace(&format!("{{{{{name}}}}}"), &escaped(text));
    }
    page.replace("{{drawn}}", drawn)
}

/// The page with a result, for browsers without JavaScript.
pub(crate) fn result_page(language: Language, answer: &Answer) -> String {
    let text = |name| escaped(strings::get(language, name));
    let mut html = format!("<h2>{}</h2>\n", text("result"));
    for warning in &answer.warnings {
        let _ = writeln!(html, "<p class=\"warning\">{}</p>", escaped(warning));
    }
    if answer.uncertain == Some(true) {
        let _ = writeln!(html, "<p class=\"uncertain\">{}</p>", text("uncertain"));
    }
    // Shown where it is not the most probable class anyway.
    let first = answer.results.first().map(|class| &class.class);
    if let Some(decision) = answer.decision.as_ref().filter(|found| Some(&found.class) != first) {
        let label = escaped(&decision.label);
        let _ = writeln!(html, "<p>{} {label}</p>", text("decision"));
    }
    if !answer.flagged.is_empty() {
        let labels: Vec<&str> = answer.flagged.iter().map(|class| class.label.as_str()).collect();
        let labels = escaped(&labels.join(", "));
        let _ = writeln!(html, "<p class=\"warning\">{} {labels}</p>", text("flagged"));
    }
    html.push_str("<table class=\"bars\">\n");
    for class in &answer.results {
        let (label, percent) = (escaped(&class.label), class.probability);
        let _ = writeln!(
            html,
            "<tr><th scope=\"row\">{label}</th><td><meter min=\"0\" max=\"100\" \
             value=\"{percent}\">{percent:.1} %</meter></td><td class=\"number\">{percent:.1} %</td></tr>"
        );
    }
    html.push_str("</table>\n");
    if let Some(heatmap) = &answer.heatmap {
        let alternative = text("heatmap");
        let _ = writeln!(
            html,
            "<figure><img class=\"drawn\" src=\"data:image/png;base64,{heatmap}\" \
             alt=\"{alternative}\"><figcaption>{alternative}</figcaption></figure>"
        );
    }
    if let Some(reason) = &answer.heatmap_error {
        let _ = writeln!(html, "<p>{}</p>", escaped(reason));
    }
    let _ = writeln!(html, "<p class=\"warning\">{}</p>", text("disclaimer"));
    page(language, &html)
}

/// The page with an error message.
pub(crate) fn error_page(language: Language, message: &str) -> String {
    page(language, &format!("<p class=\"error\" role=\"alert\">{}</p>", escaped(message)))
}

/// A browser that posts the form asks for HTML; a program asks for JSON or says nothing.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let accept = accept.unwrap_or("");
    accept.contains("text/html") && !accept.contains("application/json")
}

/// Text as HTML content or attribute value.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_has_its_text_in_both_languages() {
        for language in [Language::English, Language::Vietnamese] {
            let page = page(language, "<b>here</b>");
            assert!(!page.contains("{{"), "{}", &page[page.find("{{").unwrap()..][..40]);
            assert!(page.contains("<b>here</b>"));
        }
    }

    #[test]
    fn the_language_is_what_was_asked_for_or_preferred() {
        let choose = Language::choose;
        assert_eq!(choose(Some("vi"), "en"), Language::Vietnamese);
        assert_eq!(choose(None, "fr-FR, vi-VN;q=0.8, en;q=0.5"), Language::Vietnamese);
        assert_eq!(choose(Some("xx"), ""), Language::English);
    }

    #[test]
    fn messages_are_text() {
        assert!(error_page(Language::English, "<script>").contains("&lt;script&gt;"));
    }
}
