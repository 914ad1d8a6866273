//! Start-up: from starting a process to its first response, loading the model included.

use super::form::Form;
use super::report::Table;
use super::servers::{command, models, servers};
use super::{Arguments, median};
use crate::memtest::pictures::EXAMPLE;
use crate::peers::Peers;
use crate::server::Server;
use std::fmt::Write as _;
use std::time::Instant;

pub(super) fn run(peers: &Peers, arguments: &Arguments) -> anyhow::Result<Table> {
    let rounds = arguments.rounds.clamp(1, 9);
    let mut text = format!(
        "From the start of the process to the first answer, the model loaded in between, files in the \
         system's cache; medians of {rounds} starts, in turns.\n\n\
         | model | server | to the first connection, ms | to the first answer, ms |\n|---|---|---:|---:|\n"
    );
    for model in models(arguments) {
        let mut names = servers(arguments, &model, Form::Float);
        names.retain(|name| match command(peers, name, &model, Form::Float) {
            Ok(_) => true,
            Err(error) => {
                println!("SKIPPED {name}: {error:#}");
                false
            }
        });
        let mut times = vec![(Vec::new(), Vec::new()); names.len()];
        for _ in 0..rounds {
            for (name, (connected, answered)) in names.iter().zip(&mut times) {
                let command = command(peers, name, &model, Form::Float)?;
                let start = Instant::now();
                let server = Server::start_command(command)?;
                server.predict("", "image/jpeg", EXAMPLE)?;
                answered.push(start.elapsed().as_secs_f64() * 1e3);
                connected.push(server.start.as_secs_f64() * 1e3);
            }
        }
        for (name, (connected, answered)) in names.iter().zip(&times) {
            let (connected, answered) = (median(connected), median(answered));
            writeln!(text, "| {model} | {name} | {connected:.0} | {answered:.0} |")?;
        }
    }
    Ok(Table { name: "start".to_owned(), text })
}
