//! Names of classes.

use super::config::Configuration;
use super::graph::Found;
use super::known::Known;

/// More are not written.
const MAX_CLASSES: usize = 10_000;

/// Names from a configuration, from the file's metadata, or numbered ones; as many as the graph has
/// scores (two for one unit).
pub(super) fn classes(found: &Found, configuration: &Configuration) -> Known<Vec<String>> {
    let needed = found.units.map(|units| units.clamp(2, MAX_CLASSES));
    let ultralytics = || {
        let names = python_dictionary(found.metadata.get("names")?)?;
        Some(Known::from(names, "metadata of the file"))
    };
    let known = configuration.classes.clone().or_else(ultralytics);
    let known = known.filter(|names| !names.value.is_empty() && names.value.len() <= MAX_CLASSES);
    match (known, needed) {
        (Some(names), Some(needed)) if names.value.len() != needed => Known::guess(
            numbered(needed),
            "the configuration names another number of classes than the graph has",
        ),
        (Some(names), _) => names.map(unique),
        (None, Some(needed)) => Known::guess(numbered(needed), "their names"),
        (None, None) => Known::guess(numbered(2), "their number and names"),
    }
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("class-{number}")).collect()
}

/// Names that occur twice (ImageNet has two cranes) get their number.
fn unique(names: Vec<String>) -> Vec<String> {
    let mut seen = std::collections::HashSet::new();
    let numbered = names.into_iter().enumerate().map(|(number, name)| {
        if name.is_empty() || !seen.insert(name.clone()) {
            format!("{name}-{number}")
        } else {
            name
        }
    });
    numbered.collect()
}

/// The values of `{0: 'a', 1: 'b'}`, in order.
fn python_dictionary(text: &str) -> Option<Vec<String>> {
    let inside = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut names = Vec::new();
    let mut rest = inside.trim();
    while !rest.is_empty() {
        let (number, value) = rest.split_once(':')?;
        if number.trim().parse::<usize>().ok()? != names.len() {
            return None;
        }
        let value = value.trim_start();
        let quote = value.chars().next().filter(|quote| ['\'', '"'].contains(quote))?;
        let (name, after) = value[1..].split_once(quote)?;
        names.push(name.to_owned());
        rest = after.trim_start_matches([',', ' ']);
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dictionaries_as_python_prints_them() {
        let names = python_dictionary("{0: 'benign', 1: \"crow's nest\", 2: 'a: b'}").unwrap();
        assert_eq!(names, ["benign", "crow's nest", "a: b"]);
        for broken in ["", "{1: 'a'}", "{0: 1}", "{0: 'a", "{0: 'a'"] {
            assert_eq!(python_dictionary(broken), None, "{broken}");
        }
    }

    #[test]
    fn names_that_occur_twice_get_their_number() {
        let names = ["crane", "maillot", "crane"].map(str::to_owned).to_vec();
        assert_eq!(unique(names), ["crane", "maillot", "crane-2"]);
    }
}
