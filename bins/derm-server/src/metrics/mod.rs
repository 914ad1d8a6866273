//! Metrics: what happened since the start, counted where it happens, and the state at the time of a
//! scrape, for Prometheus. Names and units follow its conventions: seconds, bytes, `_total`.
//!
//! A label takes few values: routes are patterns, never paths; classes are those of the manifest.

mod gauges;

use crate::error::{ApiError, Refusal};
use crate::state::State;
use actix_web::body::MessageBody;
use actix_web::dev::ServiceResponse;
use derm::{Manifest, Report, Timings, Uncertainty};
use prometheus::core::Collector;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};
use std::time::Duration;

/// Upper bounds of the buckets of durations, seconds: from a step of a small model to TIMEOUT.
const SECONDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];
/// Upper bounds of the buckets of [`excess`]; at 0 is the threshold.
const EXCESS: [f64; 11] = [-0.75, -0.5, -0.25, -0.1, 0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0];
/// Most classes of a model that are told apart; with more, all count as [`OTHER`].
const MOST_CLASSES: usize = 128;
/// The value of a label that stands for all values that are not told apart.
const OTHER: &str = "other";

/// What is counted since the start.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    /// By route and status.
    requests: IntCounterVec,
    /// By route.
    request_seconds: HistogramVec,
    /// By reason.
    refusals: IntCounterVec,
    /// By model.
    prediction_seconds: HistogramVec,
    /// By model and step.
    step_seconds: HistogramVec,
    /// By model and class.
    predictions: IntCounterVec,
    /// By model.
    uncertain: IntCounterVec,
    /// By model.
    ood_excess: HistogramVec,
}

impl Metrics {
    /// # Errors
    /// None that depend on anything but this file.
    pub(crate) fn new() -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        let counters = |name, help, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let histograms = |name, help, buckets: &[f64], labels: &[&str]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(&registry, HistogramVec::new(options, labels)?)
        };
        let metrics = Metrics {
            requests: counters(
                "derm_http_requests_total",
                "Requests that were answered, by the pattern of their route and the status.",
                &["route", "status"],
            )?,
            request_seconds: histograms(
                "derm_http_request_duration_seconds",
                "Time from the head of a request to its answer, the client's sending included.",
                &SECONDS,
                &["route"],
            )?,
            refusals: counters(
                "derm_refusals_total",
                "Requests that were answered with an error, by reason.",
                &["reason"],
            )?,
            prediction_seconds: histograms(
                "derm_prediction_duration_seconds",
                "Time of a prediction from its picture's arrival on: waiting and all steps.",
                &SECONDS,
                &["model"],
            )?,
            step_seconds: histograms(
                "derm_step_duration_seconds",
                "Time of each step of a prediction that was taken; queue is the wait for a turn.",
                &SECONDS,
                &["model", "step"],
            )?,
            predictions: counters(
                "derm_predictions_total",
                "Predictions, by the most probable class.",
                &["model", "class"],
            )?,
            uncertain: counters(
                "derm_uncertain_predictions_total",
                "Predictions of pictures that are out of distribution for the model.",
                &["model"],
            )?,
            ood_excess: histograms(
                "derm_ood_score_excess_ratio",
                "Out-of-distribution score beyond the model's threshold, as a ratio of it.",
                &EXCESS,
                &["model"],
            )?,
            registry,
        };
        // From 0 on, so that the first one is an increase.
        for reason in ApiError::REASONS {
            metrics.refusals.with_label_values(&[reason]);
        }
        Ok(metrics)
    }

    /// Counts an answer.
    pub(crate) fn request<B: MessageBody>(&self, response: &ServiceResponse<B>, took: Duration) {
        let route = response.request().match_pattern();
        let route = route.as_deref().unwrap_or(OTHER);
        let status = response.status();
        self.requests.with_label_values(&[route, status.as_str()]).inc();
        self.request_seconds.with_label_values(&[route]).observe(took.as_secs_f64());
        if let Some(&refusal) = response.response().extensions().get::<Refusal>() {
            self.refusal(refusal);
        }
    }

    /// Counts an answer that is an error.
    pub(crate) fn refusal(&self, reason: Refusal) {
        self.refusals.with_label_values(&[reason.0]).inc();
    }

    /// Counts a prediction of the model of this name, which waited for its turn for so long.
    pub(crate) fn prediction(&self, model: &str, report: &Report, queued: Duration) {
        let Timings { decode, load, infer, gradcam, render } = report.timings;
        let steps = [
            ("queue", queued),
            ("decode", decode),
            ("load", load),
            ("infer", infer),
            ("explain", gradcam),
            ("render", render),
        ];
        for (step, took) in steps.into_iter().filter(|(_, took)| !took.is_zero()) {
            self.step_seconds.with_label_values(&[model, step]).observe(took.as_secs_f64());
        }
        let total: Duration = steps.iter().map(|(_, took)| *took).sum();
        self.prediction_seconds.with_label_values(&[model]).observe(total.as_secs_f64());
        if let Some(first) = report.predictions.first() {
            let class = class_label(&report.manifest, &first.class);
            self.predictions.with_label_values(&[model, class]).inc();
        }
        if let Some(score) = report.uncertain {
            let uncertain = self.uncertain.with_label_values(&[model]);
            uncertain.inc_by(u64::from(score.is_uncertain()));
            let excess = excess(score);
            // One that is not finite would remain in the histogram's sum.
            if excess.is_finite() {
                self.ood_excess.with_label_values(&[model]).observe(excess);
            }
        }
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// None that depend on anything but this folder.
    pub(crate) fn text(&self, state: &State) -> prometheus::Result<String> {
        let mut families = self.registry.gather();
        families.extend(gauges::families(state)?);
        TextEncoder::new().encode_to_string(&families)
    }
}

/// A collector, registered.
fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// The value of the label `class`.
fn class_label<'a>(manifest: &Manifest, class: &'a str) -> &'a str {
    if manifest.classes.len() > MOST_CLASSES { OTHER } else { class }
}

/// How far a score is beyond its threshold, as a ratio of that; of a threshold of 0, the score itself.
fn excess(of: Uncertainty) -> f64 {
    let (score, threshold) = (f64::from(of.score), f64::from(of.threshold));
    let unit = if threshold == 0.0 { 1.0 } else { threshold.abs() };
    (score - threshold) / unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_excess_of_a_score_is_zero_at_the_threshold_and_grows_with_the_score() {
        let of = |score, threshold| excess(Uncertainty { score, threshold });
        assert_eq!((of(2.0, 2.0), of(3.0, 2.0), of(0.0, 2.0)), (0.0, 0.5, -1.0));
        assert_eq!((of(-5.0, -4.0), of(-2.0, -4.0)), (-0.25, 0.5));
        assert_eq!(of(0.5, 0.0), 0.5);
        assert!(!of(f32::NAN, 2.0).is_finite() && !of(f32::INFINITY, 2.0).is_finite());
    }
}
