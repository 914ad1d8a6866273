//! Failing surroundings: whatever becomes of stderr, the environment, `/proc` or the limits of the
//! process, requests are answered.

#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs)]
#![cfg(unix)]

mod common;

use common::{FORM, LONG, Server, command, form, free_port, picture};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Logs a line for each request.
const VERBOSE: [(&str, &str); 2] = [("RUST_LOG", "info"), ("MAX_REQUESTS", "0")];

const QUICK: [(&str, &str); 2] = [("ENABLE_GRADCAM", "false"), ("MAX_REQUESTS", "0")];

fn predicts(server: &Server) {
    let body = form(&[("image", true, &picture()), ("gradcam", false, b"false")]);
    let answer = server.post("/predict/", FORM, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Every kind of request is answered, and lost lines are counted.
fn goes_on_without_its_log(server: &Server) {
    for _ in 0..20 {
        assert_eq!(server.get("/health/").text(), "ok");
    }
    predicts(server);
    server.until("log_lines_lost", |lost| lost.as_u64().unwrap() > 0);
    predicts(server);
}

#[test]
fn the_reader_of_stderr_is_gone() {
    let server = Server::start_with(&VERBOSE, |command| {
        command.stderr(Stdio::piped());
    });
    drop(server.stderr());
    goes_on_without_its_log(&server);
}

#[test]
fn the_disk_is_full() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let server = Server::start_with(&VERBOSE, |command| {
        command.stderr(full);
    });
    goes_on_without_its_log(&server);
}

#[test]
fn nobody_reads_stderr() {
    let server = Server::start_with(&VERBOSE, |command| {
        command.stderr(Stdio::piped());
    });
    let stderr = server.stderr();
    // More than a pipe (64 KiB) and the queue (256 KiB) hold.
    let path = format!("/{}", "x".repeat(4000));
    for _ in 0..120 {
        assert_eq!(server.get(&path).status, 404);
    }
    goes_on_without_its_log(&server);
    // It still stops, and what is read at last are whole lines.
    server.terminate();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(stderr).lines();
        lines.map(|line| line.unwrap()).collect::<Vec<_>>()
    });
    assert!(server.wait(LONG).success());
    let lines = reader.join().unwrap();
    let (last, whole) = lines.split_last().unwrap();
    let is_line = |line: &String| serde_json::from_str::<serde_json::Value>(line).is_ok();
    assert!(whole.len() > 10 && whole.iter().all(is_line), "{last}");
}

/// `RLIMIT_FSIZE`: a log in a file reaches its limit.
#[test]
fn no_file_may_grow() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let port = free_port().to_string();
    let environment = [("HOST", "127.0.0.1"), ("PORT", &port), ("RUST_LOG", "info")];
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -f 0; exec \"$0\" 2>\"$1\"", env!("CARGO_BIN_EXE_derm-server")])
        .arg(&log)
        .env_clear()
        .envs(environment)
        .spawn()
        .unwrap();
    let server = Server::attach(child.id(), port.parse().unwrap());
    goes_on_without_its_log(&server);
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Starts the server where neither `/proc` nor `/sys` is mounted.
#[test]
fn no_proc_and_no_sys() {
    let hide = "mount -t tmpfs none /proc && mount -t tmpfs none /sys && exec \"$0\"";
    let as_root = ["-m", "sh", "-c"];
    let as_user = ["-Urm", "sh", "-c"];
    let can = |arguments: &[&str]| {
        let mut command = Command::new("unshare");
        let tried = command.args(arguments).args([hide, "true"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let Some(arguments) = [as_root, as_user].into_iter().find(|arguments| can(arguments)) else {
        eprintln!("SKIPPED: mount namespaces are not allowed here");
        return;
    };
    let port = free_port().to_string();
    let mut child = Command::new("unshare")
        .args(arguments)
        .args([hide, env!("CARGO_BIN_EXE_derm-server")])
        .env("HOST", "127.0.0.1")
        .env("PORT", &port)
        .env_remove("MEMORY_BUDGET_MB")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Server::attach(child.id(), port.parse().unwrap());
    predicts(&server);
    let memory = server.memory();
    for name in ["rss_mb", "vms_mb", "peak_mb", "percent", "limit_mb", "limit_source", "pressure"] {
        assert!(memory["memory"][name].is_null(), "{memory}");
    }
    assert!(memory["budget"]["available_mb"].as_f64().unwrap() > 100.0, "{memory}");
    assert_eq!(memory["predictions"], 1);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn variables_and_paths_that_are_not_utf8() {
    let odd = OsStr::from_bytes(b"odd\xff");
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join(OsStr::from_bytes(b"m\xf6del"));
    put(&model, "first");
    let server = Server::start_with(&QUICK, |command| {
        command.env("LS_COLORS", odd).env(odd, "1").env("MODEL_PATH", &model);
    });
    predicts(&server);
    for name in ["PORT", "TIMEOUT", "RUST_LOG"] {
        let output = command(&[]).env(name, odd).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains(name) && message.contains("UTF-8"), "{message}");
    }
}

#[test]
fn hosts_as_they_are_written() {
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        for host in ["[::]", "::", "[::1]"] {
            let server = Server::start_at("::1", &QUICK, |command| {
                command.env("HOST", host);
            });
            let port = server.port.to_string();
            let health = common::output(&["--health"], &[("HOST", host), ("PORT", &port)]);
            assert!(health.status.success(), "{host}");
        }
    }
    for host in ["x86_64-conda-linux-gnu", "no such host", "[::"] {
        let output = common::output(&[], &[("HOST", host), ("PORT", &free_port().to_string())]);
        assert!(!output.status.success());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.contains("HOST") && message.contains(host), "{message}");
    }
}

#[test]
fn a_port_that_the_system_chooses_is_logged() {
    let environment = [("HOST", "127.0.0.1"), ("PORT", "0"), ("RUST_LOG", "info")];
    let mut child = command(&environment).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.find(|line| line.as_ref().unwrap().contains("listening")).unwrap().unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let port = line["address"].as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    assert_ne!(port, 0);
    predicts(&Server::attach(child.id(), port));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Writes a model of the zoo into a folder, over what is there: the `first` or the `second`, of which
/// that is the version.
fn put(folder: &Path, version: &str) {
    let network = if version == "first" { "mobilenetv2.opset13" } else { "resnet18.opset13" };
    let made = derm_zoo::entry(network).unwrap().make(&derm_zoo::folder()).unwrap();
    std::fs::create_dir_all(folder).unwrap();
    std::fs::copy(made.join("model.onnx"), folder.join("model.onnx")).unwrap();
    let manifest = std::fs::read_to_string(made.join("model.toml")).unwrap();
    let manifest = manifest.replace("id = \"c", &format!("id = \"{version}"));
    std::fs::write(folder.join("model.toml"), format!("version = \"{version}\"\n{manifest}"))
        .unwrap();
}

/// Loads its model again after every second prediction.
fn reloading(path: &Path) -> Server {
    let path = path.to_str().unwrap();
    let limits = [("MAX_REQUESTS", "2"), ("MAX_REQUESTS_JITTER", "0"), ("ENABLE_GRADCAM", "false")];
    Server::start(&[&[("MODEL_PATH", path)], &limits[..]].concat())
}

/// What tells one model from another in an answer, all of one model.
fn classify(server: &Server) -> serde_json::Value {
    let answer = server.post("/predict/", FORM, &form(&[("image", true, &picture())]));
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    let version = answer["model"]["version"].as_str().unwrap();
    let classes = answer["results"].as_array().unwrap();
    let is_of = |class: &serde_json::Value| class["class"].as_str().unwrap().starts_with(version);
    assert!(classes.iter().all(is_of), "{answer}");
    serde_json::json!([answer["model"], answer["results"]])
}

#[test]
fn the_models_folder_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "first");
    let server = reloading(folder.path());
    let first = classify(&server);
    // The digest is what `sha256sum` says.
    let sum = "cat model.onnx model.toml | sha256sum";
    let sum = Command::new("sh").args(["-c", sum]).current_dir(folder.path()).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    assert_eq!(first[0]["digest"], sum.split(' ').next().unwrap());
    assert_eq!(server.get("/model/").json()["digest"], first[0]["digest"]);
    folder.close().unwrap();
    for _ in 0..7 {
        assert_eq!(classify(&server), first);
    }
    assert!(server.memory()["model_loads"].as_u64().unwrap() >= 3);
}

#[test]
fn a_new_model_is_copied_over_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    put(folder.path(), "first");
    let server = reloading(folder.path());
    let first = classify(&server);
    put(folder.path(), "second");
    for _ in 0..7 {
        assert_eq!(classify(&server), first);
    }
    // Nor is a half of a model taken.
    std::fs::write(folder.path().join("model.onnx"), "half").unwrap();
    for _ in 0..7 {
        assert_eq!(classify(&server), first);
    }
}

#[test]
fn a_symlink_is_switched_to_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    put(&at("first"), "first");
    put(&at("second"), "second");
    std::os::unix::fs::symlink(at("first"), at("current")).unwrap();
    let server = reloading(&at("current"));
    let before_the_first_load = reloading(&at("current"));
    let first = classify(&server);
    std::fs::remove_file(at("current")).unwrap();
    std::os::unix::fs::symlink(at("second"), at("current")).unwrap();
    for _ in 0..7 {
        assert_eq!(classify(&server), first);
        assert_eq!(classify(&before_the_first_load), first);
    }
}

/// glibc's own use of huge pages, which is that of THP where the system has `madvise`.
#[test]
fn huge_pages_take_no_more_memory() {
    let idle_after_predictions = |tunables: &str| {
        let server = Server::start(&[QUICK[0], QUICK[1], ("GLIBC_TUNABLES", tunables)]);
        (0..4).for_each(|_| predicts(&server));
        server.until("running", |running| *running == 0);
        let memory = server.memory();
        memory["memory"]["peak_mb"].as_f64().unwrap()
    };
    let (without, with) =
        (idle_after_predictions(""), idle_after_predictions("glibc.malloc.hugetlb=1"));
    assert!(with < without + 8.0, "{without} MiB without, {with} MiB with huge pages");
}

/// What `GLIBC_TUNABLES` is in the running server that was started with these variables.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn tunables(environment: &[(&str, &str)]) -> String {
    let server = Server::start(environment);
    assert_eq!(server.get("/health/").status, 200);
    let variables = std::fs::read(format!("/proc/{}/environ", server.pid())).unwrap();
    let mut variables = variables.split(|&byte| byte == 0);
    let found = variables.find_map(|variable| variable.strip_prefix(b"GLIBC_TUNABLES="));
    String::from_utf8(found.unwrap_or_default().to_vec()).unwrap()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_allocators_thread_caches_are_small_unless_they_are_set() {
    assert_eq!(tunables(&[]), "glibc.malloc.tcache_max=64");
    let own = "glibc.malloc.tcache_count=3";
    assert_eq!(tunables(&[("GLIBC_TUNABLES", own)]), own);
    // Where glibc removes the tunables, the server does not start itself for ever.
    assert_eq!(tunables(&[("DERM_MALLOC_TUNED", "1")]), "");
}
