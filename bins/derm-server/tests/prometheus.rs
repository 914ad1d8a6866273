//! `/metrics`, as Prometheus' own programs see it: its linter, a server that scrapes, and the queries
//! of the dashboard and the alerts in `deploy/`.

#![allow(clippy::unwrap_used, missing_docs, clippy::print_stderr)]

mod common;

use common::{Exposition, FORM, LONG, Server, form, free_port, picture};
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");

fn read(file: &str) -> String {
    std::fs::read_to_string(format!("{DEPLOY}/{file}")).unwrap()
}

/// A server in which everything that is counted has been counted once.
fn server() -> Server {
    let server = Server::start(&[]);
    let answer = server.post("/predict/", FORM, &form(&[("image", true, &picture())]));
    assert_eq!(answer.status, 200, "{}", answer.text());
    server
}

fn is_missing(program: &str) -> bool {
    let run = Command::new(program).arg("--version").stderr(Stdio::null()).output();
    let missing = run.is_err();
    if missing {
        eprintln!("SKIPPED: what {program} says of the metrics: it is not installed");
    }
    missing
}

#[test]
fn promtool_finds_nothing() {
    if is_missing("promtool") {
        return;
    }
    let mut linter = Command::new("promtool");
    linter.args(["check", "metrics"]).stdin(Stdio::piped());
    let mut linter = linter.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let text = Exposition::of(&server()).text;
    linter.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = linter.wait_with_output().unwrap();
    let found = [output.stdout, output.stderr].concat();
    let found = String::from_utf8_lossy(&found);
    assert!(output.status.success() && found.is_empty(), "{found}\n{text}");
}

/// The expressions of a Grafana dashboard, with their variables as they are at first.
fn dashboard_queries() -> Vec<String> {
    fn collect(value: &Value, queries: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(query)) = fields.get("expr") {
                    queries.push(query.clone());
                }
                fields.values().for_each(|value| collect(value, queries));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, queries)),
            _ => {}
        }
    }
    let mut queries = Vec::new();
    collect(&serde_json::from_str(&read("grafana/derm.json")).unwrap(), &mut queries);
    assert!(queries.len() >= 10, "{} queries", queries.len());
    let plain = |query: String| {
        query.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$model", ".*")
    };
    queries.into_iter().map(plain).collect()
}

/// The expressions of the alerts.
fn alert_queries() -> Vec<String> {
    let text = read("prometheus/alerts.yml");
    let alerts = text.split("- alert: ").skip(1).map(|alert| {
        let after = alert.split("expr: |\n").nth(1).unwrap();
        let indent = after.len() - after.trim_start().len();
        let lines = after.lines().take_while(|line| line.len() - line.trim_start().len() >= indent);
        lines.collect::<Vec<_>>().join("\n")
    });
    let alerts: Vec<String> = alerts.collect();
    assert_eq!(alerts.len(), 5);
    alerts
}

/// The names of metrics that a query names.
fn metric_names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("derm_") || word.starts_with("process_")).collect()
}

#[test]
fn the_dashboard_and_the_alerts_name_metrics_that_are_exported() {
    let metrics = Exposition::of(&server());
    let exported = metrics.names();
    let mut named = BTreeSet::new();
    let queries = [dashboard_queries(), alert_queries()].concat();
    for query in &queries {
        for name in metric_names(query) {
            assert!(exported.contains(name), "{name} of {query} is not in {exported:?}");
            named.insert(name);
        }
    }
    assert!(named.len() >= 20, "{named:?}");
    // The documentation lists what there is.
    let docs = std::fs::read_to_string(format!("{DEPLOY}/../docs/api.md")).unwrap();
    let docs = docs.split("## `GET /metrics`").nth(1).unwrap().split("\n## ").next().unwrap();
    let family = |name: &str| {
        let name = name.strip_suffix("_bucket").or(name.strip_suffix("_sum")).unwrap_or(name);
        name.strip_suffix("_count").unwrap_or(name).to_owned()
    };
    let exported: BTreeSet<String> = exported.iter().map(|name| family(name)).collect();
    // Where the kernel does not say how long tasks stalled, it is not exported.
    let mut documented: BTreeSet<String> = metric_names(docs).into_iter().map(family).collect();
    if !exported.contains("derm_memory_stalled_ratio") {
        documented.remove("derm_memory_stalled_ratio");
    }
    assert_eq!(documented, exported);
}

/// A Prometheus that scrapes one server each second.
struct Prometheus {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: &Server) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let (port, rules) = (free_port(), format!("{DEPLOY}/prometheus/alerts.yml"));
        let configuration = format!(
            "global: {{scrape_interval: 1s}}\nrule_files: [{rules:?}]\nscrape_configs:\n\
             - job_name: derm\n  static_configs: [{{targets: ['127.0.0.1:{}']}}]\n",
            target.port
        );
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, configuration).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Prometheus { child, port, _folder: folder }
    }

    fn get(&self, path: &str, query: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let answer = ureq::get(url).query("query", query).call();
        answer.ok()?.body_mut().read_json().ok()
    }

    /// The value of the first sample that a query has.
    fn query(&self, query: &str) -> Option<f64> {
        let answer = self.get("query", query)?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// Waits until a query has a value.
    fn until(&self, query: &str) -> f64 {
        let start = Instant::now();
        loop {
            if let Some(value) = self.query(query) {
                return value;
            }
            assert!(start.elapsed() < LONG, "{query} has no value");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_scrapes_and_answers_queries() {
    if is_missing("prometheus") {
        return;
    }
    let server = server();
    let prometheus = Prometheus::start(&server);
    assert_eq!(prometheus.until("sum(derm_predictions_total)"), 1.0);
    assert_eq!(prometheus.query(r#"up{job="derm"}"#), Some(1.0));
    let infer = "histogram_quantile(0.5, derm_step_duration_seconds_bucket{step=\"infer\"})";
    let seconds = prometheus.query(infer).unwrap();
    assert!(seconds > 0.0 && seconds <= 60.0, "{seconds}");
    let digest = r#"count(derm_model_info{digest=~"[0-9a-f]{64}"})"#;
    assert_eq!(prometheus.query(digest), Some(1.0));

    for query in [dashboard_queries(), alert_queries()].concat() {
        let answer = prometheus.get("query", &query);
        assert!(answer.is_some_and(|a| a["status"] == "success"), "{query}");
    }
    let rules = prometheus.get("rules", "").unwrap();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap();
    assert!(rules.iter().all(|rule| rule["health"] != "err"), "{rules:?}");
    assert_eq!(rules.len(), 5);
}
