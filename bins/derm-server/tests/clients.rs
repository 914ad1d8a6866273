//! Every example of docs/clients.md is run as it stands, in a folder that holds a picture.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use common::{Example, Server, examples, picture};

const KEY: &str = "correct-horse-battery";

#[test]
fn the_examples_of_clients_work() {
    let server = Server::start(&[("PRELOAD", "true"), ("ADMIN_KEY", KEY)]);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("picture.jpg"), picture()).unwrap();
    let heatmap = folder.path().join("heatmap.png");
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/clients.md");
    let all = examples(&std::fs::read_to_string(page).unwrap());
    assert!(all.len() >= 16, "{} examples", all.len());
    let draws = |example: &&Example| example.source.contains("heatmap.png");
    assert!(all.iter().filter(draws).count() >= 6);
    for example in &all {
        let Some(text) = example.run(&server, folder.path(), &[("ADMIN_KEY", KEY)]) else {
            continue;
        };
        assert!(!text.contains("\"error\""), "{}\n{text}", example.source);
        if draws(&example) {
            let png = std::fs::read(&heatmap).unwrap();
            assert_eq!(image::load_from_memory(&png).unwrap().width(), 224, "{}", example.source);
            std::fs::remove_file(&heatmap).unwrap();
        }
    }
}
