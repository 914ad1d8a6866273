//! Resident memory by mapping (`proc_pid_smaps(5)`).

use super::environment;
use super::pictures::EXAMPLE;
use crate::server::Server;
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Prints the resident memory of a server by kind of mapping: idle, and one second after a prediction
/// with Grad-CAM.
pub(crate) fn run(binary: &Path, model: Option<&Path>) -> anyhow::Result<()> {
    let server = Server::start(binary, &environment(model))?;
    let idle = parts(server.id())?;
    server.predict("gradcam=true", "image/jpeg", EXAMPLE)?;
    std::thread::sleep(Duration::from_secs(1));
    let loaded = parts(server.id())?;
    let budget = server.memory()?["budget"].clone();
    println!("\n| {:<44} | idle, KiB | loaded, KiB |", "resident memory");
    println!("|{:-<46}|----------:|------------:|", "");
    let names: std::collections::BTreeSet<&String> = idle.keys().chain(loaded.keys()).collect();
    let of = |parts: &BTreeMap<String, u64>, name: &String| parts.get(name).copied().unwrap_or(0);
    for name in names {
        if of(&idle, name).max(of(&loaded, name)) > 0 {
            println!("| {name:<44} | {:>9} | {:>11} |", of(&idle, name), of(&loaded, name));
        }
    }
    let total = |parts: &BTreeMap<String, u64>| parts.values().sum::<u64>();
    println!("| {:<44} | {:>9} | {:>11} |", "all", total(&idle), total(&loaded));
    println!("of the anonymous blocks, the packed weights are {} MiB", budget["weights_mb"]);
    Ok(())
}

/// KiB by kind of mapping.
fn parts(process: u32) -> anyhow::Result<BTreeMap<String, u64>> {
    let path = format!("/proc/{process}/smaps");
    let text = std::fs::read_to_string(&path).context(path)?;
    let mut parts = BTreeMap::new();
    let mut kind = String::new();
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let Some(first) = fields.next() else { continue };
        if let Some(name) = first.strip_suffix(':') {
            if name == "Rss" {
                let kib: u64 = fields.next().unwrap_or("0").parse()?;
                *parts.entry(kind.clone()).or_insert(0) += kib;
            }
            continue;
        }
        let rights = fields.next().unwrap_or_default();
        kind = kind_of(rights, fields.nth(3).unwrap_or_default());
    }
    Ok(parts)
}

fn kind_of(rights: &str, name: &str) -> String {
    let file = name.rsplit('/').next().unwrap_or_default();
    match (name, rights) {
        ("", _) => "anonymous blocks (weights, arenas, stacks)".to_owned(),
        ("[heap]", _) => "heap: small blocks".to_owned(),
        ("[stack]", _) => "main thread's stack".to_owned(),
        (name, _) if name.starts_with('[') => format!("{name}: the kernel's"),
        (_, rights) if rights.contains('x') => format!("{file}: code"),
        (_, rights) if rights.contains('w') => format!("{file}: variables"),
        _ => format!("{file}: constants"),
    }
}
