//! One engine as a process that `cargo xtask compare` tells when to run: the same protocol as
//! `engine.py`. `engine ENGINE MODEL PICTURE SIDE THREADS`; RTen takes its threads from
//! RTEN_NUM_THREADS, tract has one.

use rten_tensor::NdTensor;
use rten_tensor::prelude::*;
use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::time::Instant;
use tract_onnx::prelude::*;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [engine, model, picture, side, _threads] = arguments.as_slice() else {
        return Err("engine ENGINE MODEL PICTURE SIDE THREADS".into());
    };
    let side: usize = side.parse()?;
    let bytes = std::fs::read(picture)?;
    let (values, _) = bytes.as_chunks::<4>();
    let input: Vec<f32> = values.iter().copied().map(f32::from_le_bytes).collect();
    let shape = [1, 3, side, side];
    let mut run: Box<dyn FnMut() -> Result<Vec<f32>, Failure>> = match engine.as_str() {
        "tract" => {
            let plan = tract_onnx::onnx()
                .model_for_path(model)?
                .with_input_fact(0, f32::fact(shape).into())?
                .into_optimized()?
                .into_runnable()?;
            let input = Tensor::from_shape(&shape, &input)?;
            Box::new(move || {
                let outputs = plan.run(tvec!(input.clone().into()))?;
                Ok(outputs[0].to_plain_array_view::<f32>()?.iter().copied().collect())
            })
        }
        "RTen" => {
            let model = rten::Model::load_file(model)?;
            let input = NdTensor::from_data(shape, input);
            Box::new(move || {
                let output: NdTensor<f32, 2> = model.run_one(input.view().into(), None)?.try_into()?;
                Ok(output.iter().copied().collect())
            })
        }
        other => return Err(format!("no engine {other}").into()),
    };
    let mut out = stdout();
    write!(out, "ready")?;
    run()?.iter().try_for_each(|score| write!(out, " {score}"))?;
    writeln!(out)?;
    for line in stdin().lines() {
        for _ in 0..line?.trim().parse::<usize>()? {
            let start = Instant::now();
            run()?;
            write!(out, "{} ", start.elapsed().as_secs_f64() * 1e3)?;
        }
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}
