//! The page in a real browser (headless Chromium through ChromeDriver): upload, result, heatmap,
//! languages, errors, keyboard, a phone's width, and the plain form without JavaScript.
//!
//! `DERM_SCREENSHOTS=DIR` keeps what the browser showed.

#![allow(clippy::unwrap_used, missing_docs, clippy::print_stderr)]

mod common;

use common::Server;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A WebDriver session (<https://www.w3.org/TR/webdriver2/>).
struct Browser {
    driver: Child,
    session: String,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// `None` where there is no browser.
    fn start(javascript: bool) -> Option<Browser> {
        let port = common::free_port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let profile = tempfile::tempdir().unwrap();
        let arguments = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--lang=en",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let setting = if javascript { 1 } else { 2 };
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            // A search for an element goes on for so long (milliseconds): the page may still be arriving.
            "timeouts": { "implicit": 30_000 },
            "goog:chromeOptions": {
                "args": arguments,
                "prefs": { "profile.managed_default_content_settings.javascript": setting },
            },
            "goog:loggingPrefs": { "browser": "ALL" },
        }}});
        let base = format!("http://127.0.0.1:{port}/session");
        let start = Instant::now();
        let created = loop {
            match call(&base, Some(&capabilities)) {
                Ok(created) => break created,
                Err(error) if start.elapsed() > Duration::from_secs(30) => panic!("{error}"),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        };
        let id = created["sessionId"].as_str().expect("a session").to_owned();
        Some(Browser { driver, session: format!("{base}/{id}"), _profile: profile })
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        call(&format!("{}/{path}", self.session), Some(body)).unwrap()
    }

    fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    fn size(&self, width: u32, height: u32) {
        self.post("window/rect", &json!({ "width": width, "height": height }));
    }

    fn find(&self, css: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": css }));
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    fn click(&self, css: &str) {
        self.post(&format!("element/{}/click", self.find(css)), &json!({}));
    }

    fn keys(&self, css: &str, text: &str) {
        self.post(&format!("element/{}/value", self.find(css)), &json!({ "text": text }));
    }

    /// The value of a JavaScript expression (works on pages without JavaScript of their own too).
    fn value(&self, expression: &str) -> Value {
        self.post("execute/sync", &json!({ "script": format!("return {expression}"), "args": [] }))
    }

    fn text(&self, css: &str) -> String {
        let text =
            call(&format!("{}/element/{}/text", self.session, self.find(css)), None).unwrap();
        text.as_str().unwrap().to_owned()
    }

    fn wait(&self, expression: &str) {
        let start = Instant::now();
        while self.value(expression) != true {
            assert!(start.elapsed() < Duration::from_secs(30), "{expression} does not come true");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn screenshot(&self, name: &str) {
        let Some(folder) = std::env::var_os("DERM_SCREENSHOTS") else { return };
        use base64::Engine;
        let png = call(&format!("{}/screenshot", self.session), None).unwrap();
        let png = base64::engine::general_purpose::STANDARD.decode(png.as_str().unwrap()).unwrap();
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(PathBuf::from(folder).join(format!("{name}.png")), png).unwrap();
    }

    /// What the browser complained about: scripts that failed, content that the policy forbids.
    fn complaints(&self) -> Vec<String> {
        let log = self.post("se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().cloned().unwrap_or_default();
        entries.iter().map(|entry| entry["message"].as_str().unwrap_or("?").to_owned()).collect()
    }

    fn fits_its_width(&self) -> bool {
        self.value("document.documentElement.scrollWidth <= window.innerWidth") == true
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = ureq::delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn call(url: &str, body: Option<&Value>) -> Result<Value, String> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let sent = match body {
        Some(body) => agent.post(url).send_json(body),
        None => agent.get(url).call(),
    };
    let mut answer = sent.map_err(|error| error.to_string())?;
    let json: Value = answer.body_mut().read_json().map_err(|error| error.to_string())?;
    match json["value"]["error"].as_str() {
        Some(error) => Err(format!("{url}: {error}: {}", json["value"]["message"])),
        None => Ok(json["value"].clone()),
    }
}

fn browser(javascript: bool) -> Option<Browser> {
    let browser = Browser::start(javascript);
    if browser.is_none() {
        eprintln!("SKIPPED: chromedriver is not installed, the page was not driven");
    }
    browser
}

fn file(name: &str) -> String {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/derm-preprocess/tests/data");
    std::fs::canonicalize(format!("{data}/{name}")).unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_picture_is_uploaded_explained_and_shown() {
    let Some(browser) = browser(true) else { return };
    let server = Server::start(&[]);
    browser.size(1280, 1100);
    browser.open(&server.address());
    browser.screenshot("start");
    browser.keys("#image", &file("baseline.jpg"));
    browser.wait("document.getElementById('preview').naturalWidth === 320");
    browser.click("#analyse");
    browser.wait("!document.getElementById('answer').hidden");
    assert_eq!(browser.value("document.querySelectorAll('#bars tr').length"), 7);
    browser.wait("document.getElementById('over').naturalWidth === 224");
    browser.wait("document.getElementById('figures').textContent.includes('MiB')");
    assert!(browser.text("#answer").contains("not a diagnosis"));
    // The heatmap lies where the network looked: the middle of a picture that is wider than high.
    let place = browser.value(
        "['left', 'top', 'width', 'height']\
         .map(side => parseFloat(document.getElementById('over').style[side]))",
    );
    let place: Vec<f64> = serde_json::from_value(place).unwrap();
    assert!((place[0] - 12.5).abs() < 0.5 && place[1] == 0.0 && (place[2] - 75.0).abs() < 0.5);

    browser.value(
        "(s => { s.value = 20; s.dispatchEvent(new Event('input')); return true })\
         (document.getElementById('opacity'))",
    );
    assert_eq!(browser.value("document.getElementById('over').style.opacity"), "0.2");
    browser.click("input[value=side]");
    assert_eq!(browser.value("document.getElementById('second').hidden"), false);
    assert_eq!(browser.value("document.getElementById('over').hidden"), true);
    browser.screenshot("side-by-side");
    browser.click("#example");
    browser.wait("document.getElementById('preview').naturalWidth === 800");
    browser.wait("!document.getElementById('answer').hidden");
    browser.size(860, 1300);
    browser.value("window.scrollTo(0, 0) || true");
    browser.screenshot("page");
    browser.click("input[value=overlaid]");
    assert!(browser.fits_its_width());
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn another_class_and_two_methods_side_by_side() {
    let Some(browser) = browser(true) else { return };
    let server = Server::start(&[]);
    browser.size(1280, 1100);
    browser.open(&server.address());
    browser.click("#example");
    browser.wait("!document.getElementById('answer').hidden");
    browser.wait("document.getElementById('over').naturalWidth === 224");
    assert_eq!(browser.value("document.querySelectorAll('#class option').length"), 7);
    let shown = |id: &str| browser.value(&format!("document.getElementById('{id}').src"));
    let choose = |id: &str, value: &str| {
        let before = [shown("over"), shown("alone")];
        browser.value(&format!(
            "(s => {{ s.value = '{value}'; s.dispatchEvent(new Event('change')); return true }})\
             (document.getElementById('{id}'))"
        ));
        let start = Instant::now();
        while [shown("over"), shown("alone")] == before {
            assert!(start.elapsed() < Duration::from_secs(30), "{id} {value} shows nothing new");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let first = shown("over");
    choose("class", "mel");
    assert_ne!(shown("over"), first);
    choose("other", "saliency");
    browser.wait("!document.getElementById('second').hidden");
    assert_eq!(browser.value("document.getElementById('over').hidden"), false);
    assert_ne!(shown("over"), shown("alone"));
    browser.screenshot("compared");
    choose("method", "eigencam");
    assert!(browser.fits_its_width());
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn the_example_on_a_phone_in_vietnamese_by_keyboard() {
    let Some(browser) = browser(true) else { return };
    let server = Server::start(&[]);
    browser.size(390, 844);
    browser.open(&server.address());
    browser.click("nav a[lang=vi]");
    browser.wait("document.documentElement.lang === 'vi'");
    assert_eq!(browser.text("h1"), "Sàng lọc tổn thương da");
    browser.screenshot("phone-start");
    browser.keys("#example", "\u{e007}"); // Enter
    browser.wait("!document.getElementById('answer').hidden");
    browser.wait("document.getElementById('over').naturalWidth === 224");
    assert!(browser.text("#bars").contains("Nốt ruồi"));
    assert_eq!(browser.value("document.activeElement.id"), "answer");
    assert!(browser.fits_its_width(), "wider than the phone");
    browser.screenshot("phone-result");
    assert_eq!(browser.complaints(), Vec::<String>::new());
}

#[test]
fn a_file_that_is_no_picture_is_told() {
    let Some(browser) = browser(true) else { return };
    let server = Server::start(&[]);
    browser.open(&server.address());
    browser.keys("#image", &file("make.py"));
    browser.click("#analyse");
    browser.wait("document.getElementById('error').textContent.includes('not a picture')");
    assert_eq!(browser.value("document.getElementById('answer').hidden"), true);
    browser.screenshot("error");
}

#[test]
fn a_picture_that_only_the_browser_reads_is_converted() {
    let Some(browser) = browser(true) else { return };
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("drawn.svg");
    let text = "<svg xmlns='http://www.w3.org/2000/svg' width='90' height='60'>\
                <circle cx='45' cy='30' r='20' fill='brown'/></svg>";
    std::fs::write(&svg, text).unwrap();
    let refused = server.post("/predict/", "Content-Type: image/svg+xml\r\n", text.as_bytes());
    assert_eq!(refused.status, 415, "{}", refused.text());
    browser.open(&server.address());
    browser.keys("#image", svg.to_str().unwrap());
    browser.click("#analyse");
    browser.wait("!document.getElementById('answer').hidden");
    assert_eq!(browser.value("document.querySelectorAll('#bars tr').length"), 7);
    assert_eq!(browser.text("#error"), "");
}

#[test]
fn the_plain_form_works_without_javascript() {
    let Some(browser) = browser(false) else { return };
    let server = Server::start(&[]);
    browser.size(800, 1200);
    browser.open(&format!("{}/?lang=en", server.address()));
    browser.keys("#image", &file("baseline.jpg"));
    browser.click("#analyse");
    // Only the answer's page has bars; `#drawn` is on the form's as well, which goes away under a reader.
    browser.find("#drawn meter");
    let text = browser.text("#drawn");
    assert!(text.contains("Result") && text.contains("Melanoma"), "{text}");
    assert!(text.contains("not a diagnosis"));
    browser.find("#drawn img.drawn");
    browser.screenshot("no-javascript");
}

#[test]
fn the_description_of_the_api_is_shown() {
    let server = Server::start(&[]);
    let Some(browser) = browser(true) else { return };
    browser.size(390, 844);
    browser.open(&format!("{}/docs/", server.address()));
    browser.wait("document.body.dataset.shown === 'true'");
    let document = server.get("/openapi.json").json();
    let headings = browser.value("[...document.querySelectorAll('h2')].map((h) => h.textContent)");
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let heading = json!(format!("{} {path}", method.to_uppercase()));
            assert!(headings.as_array().unwrap().contains(&heading), "{heading} not in {headings}");
        }
    }
    let parameters = browser.text("#postPredict table");
    assert!(parameters.contains("contour") && parameters.contains("layercam"), "{parameters}");
    assert!(browser.text("#postPredict").contains("over_budget"));
    assert_eq!(browser.complaints(), [""; 0]);
    assert!(browser.fits_its_width());
    browser.screenshot("api");
}
