//! Pages: templates in two languages, and results rendered for browsers without JavaScript.

mod language;
mod strings;

pub(crate) use language::Language;

use crate::answer::{Answer, Class};
use actix_web::http::header::{ACCEPT, HeaderMap};
use askama::Template;
use strings::Strings;

#[derive(Template)]
#[template(path = "page.html")]
struct Page {
    language: Language,
    text: &'static Strings,
}

#[derive(Template)]
#[template(path = "result.html")]
struct ResultPage<'a> {
    language: Language,
    text: &'static Strings,
    answer: &'a Answer,
}

impl ResultPage<'_> {
    /// The decision, where it is not the most probable class anyway.
    fn decision(&self) -> Option<&Class> {
        let first = self.answer.results.first().map(|class| &class.class);
        self.answer.decision.as_ref().filter(|decision| Some(&decision.class) != first)
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    language: Language,
    text: &'static Strings,
    message: &'a str,
}

/// The page, without a result.
pub(crate) fn page(language: Language) -> String {
    rendered(&Page { language, text: language.strings() })
}

/// The page with a result, for browsers without JavaScript.
pub(crate) fn result_page(language: Language, answer: &Answer) -> String {
    rendered(&ResultPage { language, text: language.strings(), answer })
}

/// The page with an error message.
pub(crate) fn error_page(language: Language, message: &str) -> String {
    rendered(&ErrorPage { language, text: language.strings(), message })
}

fn rendered(template: &impl Template) -> String {
    template.render().expect("no filter of the templates fails, and a String takes any text")
}

/// A browser that posts the form asks for HTML; a program asks for JSON or says nothing.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let accept = accept.unwrap_or("");
    accept.contains("text/html") && !accept.contains("application/json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_text() {
        let page = error_page(Language::English, "<script>alert('\"&\"')</script>");
        let escaped = "&#60;script&#62;alert(&#39;&#34;&#38;&#34;&#39;)&#60;/script&#62;";
        assert!(page.contains(escaped) && !page.contains("<script>"), "{page}");
    }
}
