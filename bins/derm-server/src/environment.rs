//! The environment variables as `--help`, the man page and `docs/deployment-checklist.md` describe them.

use std::fmt::Write;

/// The table of `docs/deployment-checklist.md`: Markdown, one row a variable, or several that belong together.
const TABLE: &str = include_str!("environment.md");

/// Columns of the help.
const WIDTH: usize = 100;

/// Some variables that belong together, as plain text.
struct Variables {
    names: String,
    default: String,
    meaning: String,
}

fn variables() -> impl Iterator<Item = Variables> {
    TABLE.lines().skip(2).filter_map(|row| {
        let row = row.strip_prefix("| ")?.strip_suffix(" |")?;
        let mut cells = row.splitn(3, " | ").map(plain);
        Some(Variables { names: cells.next()?, default: cells.next()?, meaning: cells.next()? })
    })
}

/// Plain text: Markdown without the marks of code, links and escapes.
fn plain(markdown: &str) -> String {
    let mut text = String::new();
    let mut rest = markdown;
    while let Some((before, link)) = rest.split_once('[') {
        text += before;
        match link.split_once("](").and_then(|(shown, link)| Some((shown, link.split_once(')')?))) {
            Some((shown, (_, after))) if !shown.contains(']') => {
                text += shown;
                rest = after;
            }
            _ => {
                text.push('[');
                rest = link;
            }
        }
    }
    (text + rest).replace('`', "").replace("\\|", "|")
}

/// What `--help` ends with.
pub(crate) fn help() -> String {
    let mut text = String::from("Environment variables; an empty one counts as unset:");
    for Variables { names, default, meaning } in variables() {
        text += &format!("\n\n  {names} [default: {default}]");
        let mut column = WIDTH;
        for word in meaning.split(' ') {
            let length = word.chars().count() + 1;
            if column + length > WIDTH {
                text += "\n         ";
                column = 9;
            }
            column += length;
            text.push(' ');
            text += word;
        }
    }
    text
}

/// The man page, in roff.
///
/// # Errors
/// Those of writing to memory.
pub(crate) fn man(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let nothing = None::<&'static str>;
    let page = clap_mangen::Man::new(command.after_help(nothing).after_long_help(nothing));
    let mut roff = Vec::new();
    page.render(&mut roff)?;
    let mut text = String::from(".SH ENVIRONMENT\nAn empty variable counts as unset.\n");
    for Variables { names, default, meaning } in variables() {
        // A paragraph with a hanging tag; `\\&` keeps a full stop at the beginning of a line from being a request.
        let [names, default, meaning] = [names, default, meaning].map(|text| escaped(&text));
        let _ = writeln!(text, ".TP\n\\fB{names}\\fR [default: {default}]\n\\&{meaning}");
    }
    text += ".SH SEE ALSO\nderm(1), systemd.socket(5)\n";
    roff.extend_from_slice(text.as_bytes());
    Ok(roff)
}

/// Text in which roff sees no request and no hyphen that it may replace.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_table_is_that_of_the_documentation() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/deployment-checklist.md");
        let page = std::fs::read_to_string(file).unwrap();
        assert!(page.contains(TABLE), "src/environment.md and docs/deployment-checklist.md differ");
    }

    #[test]
    fn every_variable_is_described() {
        let described: Vec<String> = variables()
            .flat_map(|some| some.names.split(", ").map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let read = crate::config::variables();
        for name in read {
            let name = name.to_uppercase();
            assert!(described.contains(&name), "{name} is not in src/environment.md");
        }
        assert_eq!(described.len(), read.len(), "{described:?}");
    }

    #[test]
    fn marks_are_taken_out_and_lines_broken() {
        assert_eq!(plain("`a` ([b.md](b.md)) `[::]` \\| [c"), "a (b.md) [::] | [c");
        let help = help();
        let lines: Vec<&str> = help.lines().collect();
        assert!(lines.contains(&"  HOST, PORT [default: 0.0.0.0, 8000]"), "{help}");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{help}");
        assert!(!help.contains(['`']) && !help.contains("]("), "{help}");
    }
}
