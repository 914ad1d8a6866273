//! Classification metrics with bootstrap confidence intervals.

use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Bins of the expected calibration error.
const BINS: usize = 15;
/// Resamples of the bootstrap.
const ROUNDS: usize = 1000;

/// A picture's true class and its predicted probabilities.
#[derive(Debug, Clone)]
pub(crate) struct Scored {
    pub(crate) truth: usize,
    pub(crate) probabilities: Vec<f32>,
    /// The class that the manifest's decision weights choose; without weights the most probable one.
    pub(crate) decision: usize,
}

impl Scored {
    /// The most probable class and its probability.
    pub(crate) fn answer(&self) -> (usize, f32) {
        let classes = self.probabilities.iter().copied().enumerate();
        classes.max_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((0, 0.0))
    }
}

/// The metrics that get an interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Figures {
    pub(crate) accuracy: f64,
    /// Mean recall of the classes that occur.
    pub(crate) balanced_accuracy: f64,
    /// Accuracy and balanced accuracy of the decision.
    pub(crate) decision_accuracy: f64,
    pub(crate) decision_balanced_accuracy: f64,
    /// Mean area under the ROC curve, each class against the rest.
    pub(crate) macro_auroc: f64,
    /// Expected calibration error of the most probable class (Guo et al. 2017), 15 equal bins.
    pub(crate) ece: f64,
}

/// Confidence interval: a metric with its 95 % bootstrap interval. It is NaN where these pictures do not define
/// the metric: pictures of one class have no AUROC.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Interval {
    pub(crate) value: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The value with as many decimals as the precision says, and its interval; a dash where it is not defined.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interval { value, low, high } = self;
        if value.is_nan() {
            return f.pad("-");
        }
        write!(f, "{value:.*} ({low:.3}-{high:.3})", f.precision().unwrap_or(3))
    }
}

/// Pictures sorted once, so that each resample is scored in one pass.
pub(crate) struct Sorted<'a> {
    scored: &'a [Scored],
    answers: Vec<(usize, f32)>,
    /// For each class: the pictures in ascending order of its probability.
    orders: Vec<Vec<usize>>,
}

impl<'a> Sorted<'a> {
    pub(crate) fn new(scored: &'a [Scored], classes: usize) -> Sorted<'a> {
        let order = |class: usize| {
            let mut order: Vec<usize> = (0..scored.len()).collect();
            let p = |i: usize| scored[i].probabilities[class];
            order.sort_by(|&a, &b| p(a).total_cmp(&p(b)));
            order
        };
        let answers = scored.iter().map(Scored::answer).collect();
        Sorted { scored, answers, orders: (0..classes).map(order).collect() }
    }

    /// The metrics with a weight per picture.
    pub(crate) fn figures(&self, weights: &[f64]) -> Figures {
        let classes = self.orders.len();
        let mut all = vec![0.0; classes];
        self.scored.iter().zip(weights).for_each(|(one, weight)| all[one.truth] += weight);
        let total: f64 = all.iter().sum();
        let answers: Vec<usize> = self.answers.iter().map(|&(answer, _)| answer).collect();
        let decisions: Vec<usize> = self.scored.iter().map(|one| one.decision).collect();
        let (right, decided) = (self.right(&answers, weights), self.right(&decisions, weights));
        let recall = |right: &[f64]| {
            let occurring = right.iter().zip(&all).filter(|(_, all)| **all > 0.0);
            mean(&occurring.map(|(right, all)| right / all).collect::<Vec<f64>>())
        };
        let aurocs: Vec<f64> =
            (0..classes).filter_map(|class| self.auroc(class, weights)).collect();
        let bins = self.bins(weights);
        let gaps = bins.iter().map(|bin| (bin.hits - bin.confidence).abs());
        Figures {
            accuracy: right.iter().sum::<f64>() / total,
            balanced_accuracy: recall(&right),
            decision_accuracy: decided.iter().sum::<f64>() / total,
            decision_balanced_accuracy: recall(&decided),
            macro_auroc: mean(&aurocs),
            ece: gaps.sum::<f64>() / total,
        }
    }

    /// Weight of the pictures of each class that `called` is right about.
    fn right(&self, called: &[usize], weights: &[f64]) -> Vec<f64> {
        let mut right = vec![0.0; self.orders.len()];
        for ((one, &called), &weight) in self.scored.iter().zip(called).zip(weights) {
            right[one.truth] += if called == one.truth { weight } else { 0.0 };
        }
        right
    }

    /// Area under the ROC curve of one class; `None` where it or the rest has no picture.
    pub(crate) fn auroc(&self, class: usize, weights: &[f64]) -> Option<f64> {
        let ordered: Vec<(f32, bool, f64)> = self.orders[class]
            .iter()
            .map(|&i| {
                (self.scored[i].probabilities[class], self.scored[i].truth == class, weights[i])
            })
            .collect();
        area(&ordered)
    }

    /// Predictions by confidence.
    fn bins(&self, weights: &[f64]) -> [Bin; BINS] {
        let mut bins = [Bin::default(); BINS];
        for ((one, &(answer, p)), &weight) in self.scored.iter().zip(&self.answers).zip(weights) {
            let bin = &mut bins[((p * BINS as f32) as usize).min(BINS - 1)];
            bin.count += weight;
            bin.hits += if answer == one.truth { weight } else { 0.0 };
            bin.confidence += weight * f64::from(p);
        }
        bins
    }

    /// Points (false positive rate, true positive rate) of one class's ROC curve, from 0, 0.
    pub(crate) fn roc(&self, class: usize) -> Vec<(f64, f64)> {
        let positives = self.scored.iter().filter(|one| one.truth == class).count() as f64;
        let negatives = self.scored.len() as f64 - positives;
        let (mut true_positives, mut false_positives) = (0.0, 0.0);
        let mut points = vec![(0.0, 0.0)];
        for &i in self.orders[class].iter().rev() {
            if self.scored[i].truth == class {
                true_positives += 1.0;
            } else {
                false_positives += 1.0;
            }
            points.push((false_positives / negatives, true_positives / positives));
        }
        points
    }

    /// The metrics of all pictures, with intervals by resampling groups with replacement.
    pub(crate) fn with_intervals(&self, groups: &[String]) -> BTreeMap<&'static str, Interval> {
        let mut members: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, group) in groups.iter().enumerate() {
            members.entry(group).or_default().push(index);
        }
        let members: Vec<&Vec<usize>> = members.values().collect();
        let mut random = fastrand::Rng::with_seed(0);
        let mut rounds: Vec<Figures> = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let mut weights = vec![0.0; self.scored.len()];
            for _ in 0..members.len() {
                for &index in members[random.usize(..members.len())] {
                    weights[index] += 1.0;
                }
            }
            rounds.push(self.figures(&weights));
        }
        let whole = self.figures(&vec![1.0; self.scored.len()]);
        let interval = |of: fn(&Figures) -> f64| {
            let mut values: Vec<f64> = rounds.iter().map(of).filter(|v| v.is_finite()).collect();
            values.sort_by(f64::total_cmp);
            let at = |share: f64| {
                let last = values.len().checked_sub(1);
                last.map_or(f64::NAN, |last| values[(last as f64 * share).round() as usize])
            };
            Interval { value: of(&whole), low: at(0.025), high: at(0.975) }
        };
        BTreeMap::from([
            ("accuracy", interval(|f| f.accuracy)),
            ("balanced accuracy", interval(|f| f.balanced_accuracy)),
            ("decision: accuracy", interval(|f| f.decision_accuracy)),
            ("decision: balanced accuracy", interval(|f| f.decision_balanced_accuracy)),
            ("macro AUROC", interval(|f| f.macro_auroc)),
            ("ECE", interval(|f| f.ece)),
        ])
    }

    /// Confusion matrix. Rows: true class; columns: predicted class.
    pub(crate) fn confusion(&self) -> Vec<Vec<usize>> {
        let mut counts = vec![vec![0; self.orders.len()]; self.orders.len()];
        for (one, (answer, _)) in self.scored.iter().zip(&self.answers) {
            counts[one.truth][*answer] += 1;
        }
        counts
    }

    /// For each non-empty bin: mean confidence, accuracy, number of pictures.
    pub(crate) fn reliability(&self) -> Vec<(f64, f64, usize)> {
        let bins = self.bins(&vec![1.0; self.scored.len()]);
        let filled = bins.into_iter().filter(|bin| bin.count > 0.0);
        let shares = |bin: Bin| {
            (bin.confidence / bin.count, bin.hits / bin.count, bin.count.round() as usize)
        };
        filled.map(shares).collect()
    }
}

/// A bin of confidence: weight of its predictions, weight of the correct ones, and sum of confidences.
#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    count: f64,
    hits: f64,
    confidence: f64,
}

/// Sensitivity and specificity of a class at this threshold.
pub(crate) fn at_threshold(scored: &[Scored], class: usize, threshold: f32) -> (f64, f64) {
    let share = |inside: bool| {
        let those = || scored.iter().filter(move |one| (one.truth == class) == inside);
        let called = those().filter(|one| one.probabilities[class] >= threshold).count();
        called as f64 / those().count() as f64
    };
    (share(true), 1.0 - share(false))
}

/// AUROC of two lists: the share of pairs in which the second list's value is larger; ties count half.
pub(crate) fn separation(smaller: &[f32], larger: &[f32]) -> f64 {
    let first = smaller.iter().map(|&value| (value, false, 1.0));
    let mut ordered: Vec<_> = first.chain(larger.iter().map(|&value| (value, true, 1.0))).collect();
    ordered.sort_by(|a, b| a.0.total_cmp(&b.0));
    area(&ordered).unwrap_or(f64::NAN)
}

/// Area under the ROC curve of (value, is positive, weight) in ascending order: the share of pairs of a
/// positive and a negative in the right order; ties count half. `None` where one side is empty.
fn area(ordered: &[(f32, bool, f64)]) -> Option<f64> {
    let (mut below, mut pairs, mut inside) = (0.0, 0.0, 0.0);
    for tied in ordered.chunk_by(|a, b| a.0 == b.0) {
        let of = |wanted: bool| -> f64 {
            tied.iter()
                .filter(|(_, sought, _)| *sought == wanted)
                .map(|(_, _, weight)| weight)
                .sum()
        };
        let (positives, negatives) = (of(true), of(false));
        pairs += positives * (below + negatives / 2.0);
        below += negatives;
        inside += positives;
    }
    (inside > 0.0 && below > 0.0).then(|| pairs / (inside * below))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(list: &[(usize, [f32; 2])]) -> Vec<Scored> {
        let one = |&(truth, p): &(usize, [f32; 2])| Scored {
            truth,
            probabilities: p.to_vec(),
            decision: usize::from(p[1] * 4.0 > p[0]),
        };
        list.iter().map(one).collect()
    }

    #[test]
    fn figures_of_a_small_case_by_hand() {
        // Class 1's probabilities: 0.1, 0.8, 0.6 and, of class 1 itself, 0.6, 0.9.
        let list =
            [(0, [0.9, 0.1]), (0, [0.2, 0.8]), (0, [0.4, 0.6]), (1, [0.4, 0.6]), (1, [0.1, 0.9])];
        let scored = scored(&list);
        let sorted = Sorted::new(&scored, 2);
        let figures = sorted.figures(&[1.0; 5]);
        assert!((figures.accuracy - 0.6).abs() < 1e-9);
        assert!((figures.balanced_accuracy - (1.0 / 3.0 + 1.0) / 2.0).abs() < 1e-9);
        // Four times the weight: only the first stays 0.
        assert!((figures.decision_balanced_accuracy - (1.0 / 3.0 + 1.0) / 2.0).abs() < 1e-9);
        // Pairs in order: 0.6 against 0.1, 0.8, 0.6: 1.5; 0.9 against all: 3. Of six.
        assert!((sorted.auroc(1, &[1.0; 5]).unwrap() - 4.5 / 6.0).abs() < 1e-9);
        assert_eq!(sorted.confusion(), [[1, 2], [0, 2]]);
        // Bins: 0.9, 0.9 (both right: 0.2 over two); 0.8 (wrong); 0.6, 0.6 (one right: 0.2).
        assert!((figures.ece - (0.2 + 0.8 + 0.2) / 5.0).abs() < 1e-6);
        assert_eq!(sorted.roc(1).last(), Some(&(1.0, 1.0)));
        let (sensitivity, specificity) = at_threshold(&scored, 1, 0.7);
        assert!((sensitivity - 0.5).abs() < 1e-9 && (specificity - 2.0 / 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_picture_counted_twice_is_two_pictures() {
        let once = scored(&[(0, [0.9, 0.1]), (0, [0.3, 0.7]), (1, [0.6, 0.4])]);
        let twice = [once.clone(), once[..1].to_vec()].concat();
        let weighted = Sorted::new(&once, 2).figures(&[2.0, 1.0, 1.0]);
        let doubled = Sorted::new(&twice, 2).figures(&[1.0; 4]);
        assert!((weighted.macro_auroc - doubled.macro_auroc).abs() < 1e-9);
        assert!((weighted.ece - doubled.ece).abs() < 1e-9);
    }

    #[test]
    fn intervals_hold_the_value_and_groups_widen_them() {
        let mut random = fastrand::Rng::with_seed(1);
        let list: Vec<Scored> = (0..400)
            .map(|_| {
                let (truth, p) = (random.usize(..2), random.f32());
                Scored { truth, probabilities: vec![p, 1.0 - p], decision: 0 }
            })
            .collect();
        let sorted = Sorted::new(&list, 2);
        let width = |groups: usize| {
            let groups: Vec<String> = (0..400).map(|i| (i % groups).to_string()).collect();
            let interval = sorted.with_intervals(&groups)["accuracy"];
            assert!(interval.low <= interval.value && interval.value <= interval.high);
            interval.high - interval.low
        };
        let alone = width(400);
        assert!((0.07..0.13).contains(&alone), "two standard errors of a coin: {alone}");
        assert!(width(4) > 0.0);
    }

    #[test]
    fn separation_is_the_area_under_the_curve() {
        assert!((separation(&[1.0, 2.0], &[3.0, 4.0]) - 1.0).abs() < 1e-9);
        assert!((separation(&[1.0, 2.0], &[1.0, 2.0]) - 0.5).abs() < 1e-9);
        assert!((separation(&[1.0, 2.0, 3.0], &[2.0]) - 0.5).abs() < 1e-9);
    }
}
