//! Tests of deadlines and cancellation.

use super::*;
use crate::{Method, Task};
use std::cell::Cell;

thread_local! {
    /// How often this thread's clock may be asked before the deadline passes.
    static IN_TIME: Cell<usize> = const { Cell::new(0) };
}

const LONG: Duration = Duration::from_secs(100_000);

/// A clock that jumps beyond every deadline when it was asked often enough.
fn clock() -> Instant {
    let left = IN_TIME.get();
    IN_TIME.set(left.saturating_sub(1));
    if left > 0 { Instant::now() } else { Instant::now() + 2 * LONG }
}

/// The error of a request whose deadline passes after the clock was asked `in_time` times.
fn late(classifier: &Classifier, request: &Request, in_time: usize) -> Error {
    IN_TIME.set(in_time);
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../derm-preprocess/tests/data");
    let bytes = std::fs::read(format!("{data}/baseline.jpg")).unwrap();
    let picture = classifier.open(bytes).unwrap();
    classifier.classify(&picture, request, Instant::now() + LONG).unwrap_err()
}

#[test]
fn work_beyond_the_deadline_is_told_apart_from_waiting() {
    let folder = derm_zoo::entry("mobilenetv2.opset13").unwrap().make(&derm_zoo::folder());
    let source = ModelSource::at(folder.unwrap());
    let mut classifier = Classifier::new(source, Options::default()).unwrap();
    classifier.clock = clock;
    let explaining = |method| Request::default().with_explain(Explain::new(method));
    let cam = explaining(Method::GradCam);
    assert!(matches!(late(&classifier, &cam, 0), Error::TimedOut));
    assert!(!classifier.is_loaded());

    let error = late(&classifier, &cam, 1);
    assert!(matches!(error, Error::TimeLimit(Task::Explanation)), "{error}");
    // The runs of a slow method are interrupted between two.
    let error = late(&classifier, &explaining(Method::ScoreCam), 4);
    assert!(matches!(error, Error::TimeLimit(Task::Explanation)), "{error}");
    let error = late(&classifier, &Request::default().with_tta(8), 3);
    assert!(matches!(error, Error::TimeLimit(Task::Prediction)), "{error}");
}

#[test]
fn cancelled_work_ends_between_two_runs() {
    let folder = derm_zoo::entry("mobilenetv2.opset13").unwrap().make(&derm_zoo::folder());
    let source = ModelSource::at(folder.unwrap());
    let classifier = Classifier::new(source, Options::default()).unwrap();
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../derm-preprocess/tests/data");
    let bytes = std::fs::read(format!("{data}/baseline.jpg")).unwrap();
    let picture = classifier.open(bytes).unwrap();
    let explain = Request::default().with_explain(Explain::new(Method::ScoreCam));
    std::thread::scope(|scope| {
        let work = || classifier.classify(&picture, &explain, Instant::now() + LONG);
        // More than a thousand runs.
        let running = scope.spawn(work);
        while !classifier.is_loaded() {
            std::thread::sleep(Duration::from_millis(1));
        }
        classifier.cancel();
        assert!(matches!(running.join().unwrap(), Err(Error::Cancelled)));
        assert!(matches!(work(), Err(Error::Cancelled)));
    });
}
