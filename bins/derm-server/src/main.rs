//! `derm-server`: a classifier behind HTTP.

fn main() {
    derm_server::main();
}
