//! Metrics as the server exposes them.

use super::{Answer, Server};
use std::collections::{BTreeMap, BTreeSet};

/// The samples of a scrape: name and labels as they stand, and the value.
pub struct Exposition {
    pub text: String,
    samples: BTreeMap<String, f64>,
}

impl Exposition {
    pub fn of(server: &Server) -> Exposition {
        Exposition::read(&server.get("/metrics"))
    }

    pub fn read(answer: &Answer) -> Exposition {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let text = answer.text();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let mut samples = BTreeMap::new();
        for line in lines {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let before = samples.insert(name.to_owned(), value.parse().unwrap());
            assert_eq!(before, None, "{name} twice");
        }
        Exposition { text, samples }
    }

    /// One sample, as `name{label="value"}`.
    pub fn get(&self, sample: &str) -> Option<f64> {
        self.samples.get(sample).copied()
    }

    /// The sum of the samples of this name, and how many they are.
    pub fn sum(&self, name: &str) -> (f64, usize) {
        let of = |sample: &&String| sample.split('{').next() == Some(name);
        let samples: Vec<f64> =
            self.samples.iter().filter(|(sample, _)| of(sample)).map(|(_, value)| *value).collect();
        (samples.iter().sum(), samples.len())
    }

    /// The names of all samples, those of histograms with their suffix.
    pub fn names(&self) -> BTreeSet<&str> {
        self.samples.keys().filter_map(|sample| sample.split('{').next()).collect()
    }
}
