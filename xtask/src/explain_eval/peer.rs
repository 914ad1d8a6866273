//! Time and memory of explanations against predictions and against pytorch-grad-cam, interleaved, one
//! thread each.

use crate::profile::median;
use crate::python::environment;
use anyhow::{Context, ensure};
use derm::Method;
use derm::memory::{MIB, usage};
use derm_gradcam::{ExplainRequest, Explainers, Layer};
use derm_model::{EngineOptions, Graph, ModelSource};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The virtual environment of the reference.
const ENVIRONMENT: &str = "target/explain-peer";
const ROUNDS: usize = 15;

/// Models, and the ONNX value that is explained: the last feature map.
const MODELS: [(&str, &str); 3] = [
    ("efficientnet-lite0.opset13", "/bn2/act/Clip_output_0"),
    ("efficientnetv2-s.opset13", "/bn2/act/Mul_output_0"),
    ("resnet50.opset13", "/layer4/layer4.2/act3/Relu_output_0"),
];

pub(super) fn run(python: Option<&Path>) -> anyhow::Result<()> {
    let python = match python {
        Some(python) => python.to_owned(),
        None => {
            println!("pytorch-grad-cam in {ENVIRONMENT}; the first time it is installed ...");
            environment(ENVIRONMENT, &[("models/zoo/requirements.txt", &[])])?
        }
    };
    println!(
        "medians of {ROUNDS} rounds, ms; memory: the process at most, MiB, with one model loaded\n\n\
         | model | ours: prediction | Grad-CAM | 7 classes | saliency | memory | with saliency | \
         pytorch-grad-cam: prediction | Grad-CAM | memory | times ours |\n\
         |---|---|---|---|---|---|---|---|---|---|---|"
    );
    for (name, value) in MODELS {
        let entry = derm_zoo::entry(name).context("a model of the zoo")?;
        let ours = Ours::start(&entry.make_f16(&derm_zoo::folder())?)?;
        let theirs = entry.make(&derm_zoo::folder())?.join("model.onnx");
        let mut child = Command::new(&python)
            .args([Path::new("xtask/peers/gradcam.py"), &theirs, Path::new(value)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| python.display().to_string())?;
        let mut input = child.stdin.take().context("its input")?;
        let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
        let ready = lines.next().context("it ended")??;
        ensure!(ready == "ready", "pytorch-grad-cam did not start: {ready}");
        let mut times: [Vec<Duration>; 6] = Default::default();
        for _ in 0..ROUNDS {
            for (list, time) in times.iter_mut().zip(ours.round()?) {
                list.push(time);
            }
            writeln!(input)?;
            let line = lines.next().context("it ended")??;
            for (list, text) in times[4..].iter_mut().zip(line.split(' ')) {
                list.push(Duration::from_secs_f64(text.parse::<f64>()? / 1e3));
            }
        }
        drop(input);
        let memory: f64 = lines.next().context("it ended")??.parse()?;
        child.wait()?;
        let ms =
            |number: usize| median(times[number].clone()).unwrap_or_default().as_secs_f64() * 1e3;
        println!(
            "| {name} | {:.1} | {:.1} ({:.2}) | {:.1} ({:.2}) | {:.1} ({:.2}) | {:.0} | {:.0} | \
             {:.1} | {:.1} ({:.2}) | {memory:.0} | {:.1}, memory {:.0} |",
            ms(0),
            ms(1),
            ms(1) / ms(0),
            ms(2),
            ms(2) / ms(0),
            ms(3),
            ms(3) / ms(0),
            ours.memory,
            ours.with_saliency,
            ms(4),
            ms(5),
            ms(5) / ms(4),
            ms(5) / ms(1),
            memory / ours.memory,
        );
    }
    Ok(())
}

/// derm, and the resident memory of this process, MiB.
struct Ours {
    explainers: Explainers,
    memory: f64,
    with_saliency: f64,
}

impl Ours {
    fn start(model: &Path) -> anyhow::Result<Ours> {
        let source = ModelSource::at(model);
        let graph = Graph::load(&source)?;
        let explainers = Explainers::new(source, graph, EngineOptions::default())?;
        let mut ours = Ours { explainers, memory: 0.0, with_saliency: 0.0 };
        let held = || usage().map_or(0, |usage| usage.rss) as f64 / MIB;
        ours.explain(Method::GradCam, &[0])?;
        derm::memory::release_freed();
        ours.memory = held();
        ours.explain(Method::Saliency, &[0])?;
        ours.with_saliency = held();
        Ok(ours)
    }

    fn explain(&self, method: Method, classes: &[usize]) -> anyhow::Result<Duration> {
        let request = ExplainRequest { method, layer: Layer::Last };
        let explainer = self.explainers.for_explaining(&request)?;
        let fill = |to: &mut [f32]| to.fill(0.0);
        let start = Instant::now();
        let mut evaluation = explainer.run(fill)?;
        evaluation.explain(method, classes, &fill, &mut |_, _| true)?;
        Ok(start.elapsed())
    }

    /// Times of a prediction, Grad-CAM of one class and of seven, saliency.
    fn round(&self) -> anyhow::Result<[Duration; 4]> {
        let start = Instant::now();
        self.explainers.base().run(|to| to.fill(0.0))?;
        let prediction = start.elapsed();
        let all: Vec<usize> = (0..7).collect();
        Ok([
            prediction,
            self.explain(Method::GradCam, &[0])?,
            self.explain(Method::GradCam, &all)?,
            self.explain(Method::Saliency, &[0])?,
        ])
    }
}
