//! Several models in one folder: chosen by name, loaded on first use, within one memory budget.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Answer, FORM, Server, copy_bundled, form, output, picture};
use serde_json::Value;

/// A budget that holds one of the models, and hardly two.
const ONE: (&str, &str) = ("MEMORY_BUDGET_MB", "38");
const JPEG: &str = "Content-Type: image/jpeg\r\n";

/// A folder of copies of the bundled model, whose manifests say their names and these lines.
fn folder(models: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, line) in models {
        let model = folder.path().join(name);
        std::fs::create_dir(&model).unwrap();
        copy_bundled(&model, |manifest| {
            manifest.replace("\"derm-lite0\"", &format!("\"{name} of derm-lite0\"\n{line}"))
        });
    }
    // Other files and folders are no models.
    std::fs::write(folder.path().join("README"), "models").unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    folder
}

fn serve(folder: &tempfile::TempDir, environment: &[(&str, &str)]) -> Server {
    let path = folder.path().to_str().unwrap();
    Server::start(&[&[("MODEL_PATH", path)], environment].concat())
}

fn ask(server: &Server, model: &str) -> Answer {
    server.post(&format!("/predict/?gradcam=false&model={model}"), JPEG, &picture())
}

/// The state of each model in `/memory/`, by name.
fn loaded(server: &Server) -> Vec<(String, bool)> {
    let models = server.memory()["models"].as_array().unwrap().clone();
    let state = |model: &Value| {
        (model["name"].as_str().unwrap().to_owned(), model["loaded"].as_bool().unwrap())
    };
    models.iter().map(state).collect()
}

#[test]
fn a_request_names_its_model_and_the_first_is_the_default() {
    let folder = folder(&[("b", ""), ("a", ""), ("c", "")]);
    let server = serve(&folder, &[("MEMORY_BUDGET_MB", "400")]);
    assert_eq!(loaded(&server).len(), 3);
    assert!(loaded(&server).iter().all(|(_, loaded)| !loaded), "loaded on first use");
    let named = |answer: &Answer| {
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["model"]["name"].as_str().unwrap().to_owned()
    };
    for model in ["c", "a", "b"] {
        assert_eq!(named(&ask(&server, model)), format!("{model} of derm-lite0"));
    }
    let fields = form(&[("image", true, &picture()), ("model", false, b"b")]);
    assert_eq!(named(&server.post("/predict/", FORM, &fields)), "b of derm-lite0");
    assert_eq!(named(&server.post("/predict/", JPEG, &picture())), "a of derm-lite0");
    assert!(loaded(&server).iter().all(|(_, loaded)| *loaded), "there is room for all");
    assert_eq!(server.memory()["model_loads"], 3);
    assert_eq!(server.get("/model/?model=c").json()["name"], "c of derm-lite0");

    let refused = ask(&server, "d");
    assert_eq!(refused.status, 422);
    for part in ["model", "\"d\"", "a, b, c"] {
        assert!(refused.error().contains(part), "{}", refused.error());
    }
    assert_eq!(server.get("/model/?model=d").status, 422);
}

#[test]
fn the_least_recently_used_gives_way() {
    let folder = folder(&[("a", ""), ("b", ""), ("c", "")]);
    let server = serve(&folder, &[ONE, ("MAX_REQUESTS", "0")]);
    let expected = ask(&server, "a").json()["results"].clone();
    for turn in 0..4 {
        for model in ["a", "b", "c"] {
            let answer = ask(&server, model);
            assert_eq!(answer.status, 200, "{turn} {model}: {}", answer.text());
            assert_eq!(answer.json()["results"], expected);
            let memory = server.memory();
            let inside = loaded(&server).into_iter().filter(|(_, loaded)| *loaded);
            assert_eq!(inside.map(|(name, _)| name).collect::<Vec<_>>(), [model], "{memory}");
        }
    }
}

#[test]
fn requests_for_all_models_at_once_are_all_answered() {
    let folder = folder(&[("a", ""), ("b", ""), ("c", "")]);
    let server = serve(&folder, &[ONE]);
    let expected = ask(&server, "a").json()["results"].clone();
    std::thread::scope(|scope| {
        for client in 0..6 {
            let (server, expected) = (&server, &expected);
            scope.spawn(move || {
                for turn in 0..5 {
                    let model = ["a", "b", "c"][(client + turn) % 3];
                    let answer = ask(server, model);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    assert_eq!(&answer.json()["results"], expected);
                }
            });
        }
    });
    let budget = server.memory()["budget"].clone();
    assert_eq!(budget["reserved_mb"], 0.0, "{budget}");
    assert!(budget["available_mb"].as_f64().unwrap() > 0.0, "{budget}");
}

#[test]
fn a_pinned_model_stays_and_what_does_not_fit_beside_it_is_refused_by_name() {
    let folder = folder(&[("kept", "pinned = true"), ("other", "")]);
    let server = serve(&folder, &[ONE, ("MODEL_IDLE_SECONDS", "1")]);
    assert_eq!(ask(&server, "other").status, 200, "until the pinned one is loaded");
    assert_eq!(ask(&server, "kept").status, 200);
    let budget = server.memory()["budget"]["available_mb"].as_f64().unwrap();
    let refused = ask(&server, "other");
    if refused.status != 200 {
        assert_eq!(refused.status, 503, "{}", refused.text());
        for part in ["\"other\"", "MiB", "pinned", "MEMORY_BUDGET_MB"] {
            assert!(refused.error().contains(part), "{}", refused.error());
        }
        assert!(refused.header("Retry-After").is_none(), "it would fail again");
    } else {
        let memory = server.memory();
        let other = &memory["models"][1];
        let needed = ["weights_mb", "arena_mb"].map(|name| other[name].as_f64().unwrap());
        let needed: f64 = needed.iter().sum();
        assert!(budget >= needed, "{needed} MiB found room in {budget} MiB");
    }
    let kept = loaded(&server).into_iter().find(|(name, _)| name == "kept").unwrap();
    assert!(kept.1, "{}", server.memory());
    assert_eq!(ask(&server, "kept").status, 200);
}

#[test]
fn each_model_is_reloaded_by_itself() {
    let folder = folder(&[("a", ""), ("b", "")]);
    let key = "0123456789abcdef";
    let server = serve(&folder, &[("ADMIN_KEY", key), ("MEMORY_BUDGET_MB", "400")]);
    let version =
        |model: &str| ask(&server, model).json()["model"]["version"].as_str().unwrap().to_owned();
    let old = version("a");
    assert_eq!(version("b"), old);
    for model in ["a", "b"] {
        let path = folder.path().join(model).join("model.toml");
        let manifest = std::fs::read_to_string(&path).unwrap();
        let next = folder.path().join(model).join("next.toml");
        std::fs::write(&next, manifest.replace(&old, "next")).unwrap();
        std::fs::rename(next, path).unwrap();
    }
    let authorization = format!("Authorization: Bearer {key}\r\n");
    let reload = |path: &str| server.post(path, &authorization, b"");
    assert_eq!((version("a"), version("b")), (old.clone(), old.clone()));
    assert_eq!(reload("/admin/reload?model=b").json()["status"], "ok");
    assert_eq!((version("a"), version("b")), (old, "next".to_owned()));
    assert_eq!(reload("/admin/reload?model=c").status, 422);
    assert!(reload("/admin/reload").json()["digest"].is_string());
    assert_eq!(version("a"), "next");
    assert_eq!(server.post("/admin/reload?model=b", "", b"").status, 401);
}

#[test]
fn a_start_checks_each_and_names_the_one_that_is_wrong() {
    let good = folder(&[("a", ""), ("b", "")]);
    let path = good.path().to_str().unwrap();
    let checked = output(&["--check"], &[("MODEL_PATH", path)]);
    let text = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success() && text.contains("a of") && text.contains("b of"), "{text}");
    let against = output(&["--check", "--against", "x.csv"], &[("MODEL_PATH", path)]);
    let text = String::from_utf8(against.stderr).unwrap();
    assert!(!against.status.success() && text.contains("several models"), "{text}");

    std::fs::write(good.path().join("b/model.onnx"), b"<!DOCTYPE html>").unwrap();
    let ended = output(&[], &[("MODEL_PATH", path), ("HOST", "127.0.0.1"), ("PORT", "0")]);
    let text = String::from_utf8(ended.stderr).unwrap();
    assert!(!ended.status.success() && text.contains("\"b\"") && text.contains("HTML"), "{text}");

    let empty = tempfile::tempdir().unwrap();
    let ended = output(&["--check"], &[("MODEL_PATH", empty.path().to_str().unwrap())]);
    assert!(String::from_utf8(ended.stderr).unwrap().contains("model.toml"));
}

#[test]
fn loading_unloading_and_reloading_lose_no_request() {
    let folder = folder(&[("a", ""), ("b", "")]);
    let server = serve(&folder, &[ONE, ("MAX_REQUESTS", "3"), ("THREADS", "1")]);
    let expected = ask(&server, "a").json()["results"].clone();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let (server, expected) = (&server, &expected);
                scope.spawn(move || {
                    for turn in 0..6 {
                        let answer = ask(server, ["a", "b"][(client + turn) % 2]);
                        assert_eq!(answer.status, 200, "{}", answer.text());
                        assert_eq!(&answer.json()["results"], expected);
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            for (turn, action) in ["load", "unload"].iter().cycle().enumerate() {
                if done.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let model = ["a", "b"][turn / 2 % 2];
                let path = format!("/v2/repository/models/{model}/{action}");
                let answer = server.post(&path, "", b"");
                assert_eq!(answer.status, 200, "{path} {}", answer.text());
            }
        });
        for client in clients {
            client.join().unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for model in ["a", "b"] {
        server.post(&format!("/v2/repository/models/{model}/unload"), "", b"");
    }
    let budget = server.memory()["budget"].clone();
    assert_eq!((&budget["weights_mb"], &budget["reserved_mb"]), (&0.0.into(), &0.0.into()));
}

#[test]
fn what_the_budget_can_never_hold_is_refused_before_it_is_loaded() {
    let folder = folder(&[("a", ""), ("large", "")]);
    // A file that is no model: its size alone refuses it.
    let large = std::fs::OpenOptions::new()
        .append(true)
        .open(folder.path().join("large/model.onnx"))
        .unwrap();
    // A field of the metadata that nobody reads, of 100 MB: tag 15, a length, zeros.
    let length: u32 = 100_000_000;
    let varint: Vec<u8> = (0..5)
        .map(|index| (length >> (7 * index)) as u8 & 0x7f | if index < 4 { 0x80 } else { 0 })
        .collect();
    std::io::Write::write_all(&mut &large, &[&[0xfa, 0x06][..], &varint].concat()).unwrap();
    let whole = large.metadata().unwrap().len() + u64::from(length);
    large.set_len(whole).unwrap();
    let server = serve(&folder, &[ONE]);
    for _ in 0..2 {
        let refused = ask(&server, "large");
        assert_eq!(refused.status, 503, "{}", refused.text());
        for part in ["\"large\"", "102.", "MiB"] {
            assert!(refused.error().contains(part), "{}", refused.error());
        }
        assert_eq!(ask(&server, "a").status, 200);
    }
    let models = server.memory()["models"].clone();
    assert_eq!((&models[1]["name"], &models[1]["loads"]), (&"large".into(), &0.into()));
}
