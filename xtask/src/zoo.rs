//! `cargo xtask zoo`: fills the graphs of `models/zoo` with seeded weights.

use anyhow::bail;
use std::path::PathBuf;

/// Fill the graphs of models/zoo with seeded weights, float32 and float16
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Names, as `--list` prints them; all by default
    names: Vec<String>,
    /// Folder of the filled models
    #[arg(short, long, default_value_os_t = derm_zoo::folder())]
    out: PathBuf,
    /// Only print the names
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(unknown) = arguments.names.iter().find(|name| derm_zoo::entry(name).is_none()) {
        bail!("the zoo has no {unknown:?}; `cargo xtask zoo --list` names all");
    }
    let wanted =
        |name: &str| arguments.names.is_empty() || arguments.names.iter().any(|n| n == name);
    for entry in derm_zoo::ENTRIES.iter().filter(|entry| wanted(entry.name)) {
        if arguments.list {
            println!("{}", entry.name);
            continue;
        }
        println!("{}", entry.make(&arguments.out)?.display());
        println!("{}", entry.make_f16(&arguments.out)?.display());
    }
    Ok(())
}
